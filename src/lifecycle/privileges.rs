//! Whom the process becomes once it has its keys and its addresses, and what it can read from then on.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid as OwnerGroup, Mode, OFlags, Uid as Owner, chownat, fstat, openat};

use crate::config::{CaStore, Config, Identity, PeerRules, Process, Service};

/// Why the process cannot become who it is to become.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Nobody is called so.
    #[error("there is no {what} {name:?} on this system")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// As it was written.
        name: String,
    },
    /// A number without an entry has no group of its own.
    #[error("user {0} is not known by name, so it has no group of its own: write `group` as well")]
    NoGroup(Uid),
    /// The operating system refuses.
    #[error("cannot {what}: {source}{}", hint(*source))]
    Refused {
        /// What was tried.
        what: String,
        /// Why not.
        source: Errno,
    },
    /// It did not hold.
    #[error("the privileges that were given up could be had back ({0}): not going on with them")]
    Kept(&'static str),
}

fn hint(e: Errno) -> String {
    if e == Errno::EPERM && !Uid::effective().is_root() {
        let uid = Uid::effective();
        return format!(
            " (this process runs as {}, and only root may: start it as root, or leave that out)",
            name_of(uid)
        );
    }
    String::new()
}

fn name_of(uid: Uid) -> String {
    let known = User::from_uid(uid).ok().flatten();
    known.map_or_else(|| format!("uid {uid}"), |user| format!("{} (uid {uid})", user.name))
}

/// What is to be given up. Made while names can be looked up: a chroot has no `/etc/passwd`.
#[derive(Debug, Clone)]
pub struct Plan {
    chroot: Option<PathBuf>,
    user: Option<(Uid, Option<CString>)>,
    group: Option<Gid>,
    /// For messages, which are written where no name can be looked up any more.
    whom: String,
}

impl Plan {
    /// What `[process]` says.
    pub fn of(process: &Process) -> Result<Self, PrivilegeError> {
        let user = process.user.as_deref().map(user).transpose()?;
        let group = process.group.as_deref().map(group).transpose()?;
        let group = match (&user, group) {
            (_, Some(gid)) => Some(gid),
            (Some((_, Some(known))), None) => Some(known.gid),
            (Some((uid, None)), None) => return Err(PrivilegeError::NoGroup(*uid)),
            (None, None) => None,
        };
        let whom = user.as_ref().map_or_else(|| name_of(Uid::effective()), |(uid, _)| name_of(*uid));
        // A name that came from the system holds no NUL.
        let user = user.map(|(uid, known)| (uid, known.and_then(|u| CString::new(u.name).ok())));
        Ok(Self { chroot: process.chroot.clone(), user, group, whom })
    }

    /// Whether there is anything to be given up.
    pub fn is_empty(&self) -> bool {
        self.chroot.is_none() && self.user.is_none() && self.group.is_none()
    }

    /// Changes the root, the groups, the group and the user, in this order, for good.
    ///
    /// For the whole process only while it has one thread.
    pub fn enter(&self) -> Result<(), PrivilegeError> {
        let refused = |what: String| move |source| PrivilegeError::Refused { what, source };
        if let Some(root) = &self.chroot {
            let what = || format!("change the root to {}", root.display());
            nix::unistd::chroot(root.as_path()).map_err(refused(what()))?;
            // Else everything outside stays within reach by relative paths.
            nix::unistd::chdir("/").map_err(refused(what()))?;
        }
        if self.is_already() {
            return Ok(());
        }
        if let Some(gid) = self.group {
            match &self.user {
                Some((_, Some(name))) => nix::unistd::initgroups(name, gid),
                _ => nix::unistd::setgroups(&[gid]),
            }
            .map_err(refused(format!("take the groups of {}", self.whom)))?;
            nix::unistd::setgid(gid).map_err(refused(format!("become group {gid}")))?;
        }
        if let Some((uid, _)) = &self.user {
            nix::unistd::setuid(*uid).map_err(refused(format!("become user {}", self.whom)))?;
        }
        self.verify()
    }

    /// Gives what a restart must not forget to the user that we become, as far as it is ours: a directory that holds anything
    /// else is left alone, and whoever made it has to say whose it is. So is a file that has a second name: it may be any file
    /// of this system, put there by who may write the directory. Where this fails, [`Prepared::launch`] says so.
    ///
    /// [`Prepared::launch`]: super::Prepared::launch
    pub fn hand_over(&self, dir: &Path) {
        let Some((uid, _)) = &self.user else { return };
        // Held, as each of its files is: nothing that is named twice can be exchanged in between.
        let Ok(held) = File::open(dir) else { return };
        let Ok(entries) = Dir::read_from(&held) else { return };
        let names: Vec<CString> = entries.flatten().map(|entry| entry.file_name().to_owned()).collect();
        let names: Vec<&[u8]> =
            names.iter().map(|name| name.as_bytes()).filter(|name| ![&b"."[..], b".."].contains(name)).collect();
        if names.iter().all(|name| *name == b"lock" || name.starts_with(b"cluster-")) {
            for name in names {
                let _ = give(&held, name, FileType::RegularFile, *uid, self.group);
            }
            let _ = give(CWD, dir.as_os_str().as_bytes(), FileType::Directory, *uid, self.group);
        }
    }

    /// Who is not root may ask to become who it is.
    fn is_already(&self) -> bool {
        let user = self.user.as_ref().is_none_or(|(uid, _)| *uid == Uid::current() && *uid == Uid::effective());
        let group = self.group.is_none_or(|gid| gid == Gid::current() && gid == Gid::effective());
        user && group && !Uid::effective().is_root()
    }

    /// That what was given up cannot be had back. A saved user id would give it back, and so would a capability.
    fn verify(&self) -> Result<(), PrivilegeError> {
        if let Some(gid) = self.group {
            let ids = nix::unistd::getresgid().map_err(|_| PrivilegeError::Kept("getresgid"))?;
            if [ids.real, ids.effective, ids.saved] != [gid; 3] {
                return Err(PrivilegeError::Kept("the group"));
            }
        }
        let Some((uid, _)) = &self.user else { return Ok(()) };
        let ids = nix::unistd::getresuid().map_err(|_| PrivilegeError::Kept("getresuid"))?;
        if [ids.real, ids.effective, ids.saved] != [*uid; 3] {
            return Err(PrivilegeError::Kept("the user"));
        }
        if uid.is_root() {
            return Ok(());
        }
        let root = Uid::from_raw(0);
        if nix::unistd::setuid(root).is_ok() || nix::unistd::seteuid(root).is_ok() {
            return Err(PrivilegeError::Kept("setuid"));
        }
        let gone = self.group.is_none_or(|gid| gid.as_raw() == 0);
        if !gone && nix::unistd::setegid(Gid::from_raw(0)).is_ok() {
            return Err(PrivilegeError::Kept("setgid"));
        }
        Ok(())
    }

    /// Whom the process becomes, for messages.
    pub fn whom(&self) -> &str {
        &self.whom
    }
}

/// Gives away what is of this kind there, and has no second name if it is a file. Of a link nothing. True: it was given.
fn give(dir: impl AsFd, name: &[u8], kind: FileType, uid: Uid, group: Option<Gid>) -> io::Result<bool> {
    let held = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let seen = fstat(&held)?;
    let one = kind == FileType::Directory || seen.st_nlink == 1;
    if FileType::from_raw_mode(seen.st_mode) != kind || !one {
        return Ok(false);
    }
    let [uid, gid] = [Some(uid.as_raw()), group.map(Gid::as_raw)];
    chownat(&held, "", uid.map(Owner::from_raw), gid.map(OwnerGroup::from_raw), AtFlags::EMPTY_PATH)?;
    Ok(true)
}

fn user(name: &str) -> Result<(Uid, Option<User>), PrivilegeError> {
    let refused = |source| PrivilegeError::Refused { what: format!("look up user {name:?}"), source };
    if let Some(user) = User::from_name(name).map_err(refused)? {
        return Ok((user.uid, Some(user)));
    }
    let number = name.parse().map(Uid::from_raw);
    let uid = number.map_err(|_| PrivilegeError::Unknown { what: "user", name: name.to_owned() })?;
    Ok((uid, User::from_uid(uid).map_err(refused)?))
}

fn group(name: &str) -> Result<Gid, PrivilegeError> {
    let refused = |source| PrivilegeError::Refused { what: format!("look up group {name:?}"), source };
    if let Some(group) = Group::from_name(name).map_err(refused)? {
        return Ok(group.gid);
    }
    name.parse().map(Gid::from_raw).map_err(|_| PrivilegeError::Unknown { what: "group", name: name.to_owned() })
}

/// A file that is to be read again while the process runs, and cannot be.
#[derive(Debug)]
pub struct Unreadable {
    /// Which one.
    pub path: PathBuf,
    /// Why, down to the directory that is in the way.
    pub why: String,
}

/// The files of services' TLS that cannot be read from now on: their changes go unseen. `behind`: services behind the address
/// of another one. Of those outside of a chroot nothing is said: nobody reads them again.
pub fn unreadable(config: &Config, behind: &[Arc<Service>]) -> Vec<Unreadable> {
    let mut paths: Vec<&Path> = Vec::new();
    for service in config.services.iter().chain(behind) {
        if let Some(tls) = &service.tls {
            paths.extend(of_identity(&tls.identity).into_iter().chain(of_rules(&tls.peer)));
        }
        if let Some(tls) = &service.connect_tls {
            paths.extend(tls.identity.iter().flat_map(of_identity).chain(of_rules(&tls.peer)));
        }
    }
    if let Some(tls) = &config.admin.tls {
        paths.extend(of_identity(&tls.identity).into_iter().chain(of_rules(&tls.peer)));
    }
    paths.sort_unstable();
    paths.dedup();
    let tried = |path: &Path| {
        let here = match &config.process.chroot {
            Some(root) => &*Path::new("/").join(path.strip_prefix(root).ok()?),
            None => path,
        };
        try_to_read(here).err().map(|e| Unreadable { path: path.to_owned(), why: reason(here, &e) })
    };
    paths.into_iter().filter_map(tried).collect()
}

fn of_identity(identity: &Identity) -> [&Path; 2] {
    [&identity.cert, &identity.key]
}

fn of_rules(rules: &PeerRules) -> Vec<&Path> {
    let stores: &[PathBuf] = match &rules.ca {
        Some(CaStore::Paths(paths)) => paths,
        Some(CaStore::System) | None => &[],
    };
    stores.iter().chain(&rules.crl).map(PathBuf::as_path).collect()
}

fn try_to_read(path: &Path) -> io::Result<()> {
    if path.is_dir() { std::fs::read_dir(path).map(drop) } else { File::open(path).map(drop) }
}

/// The error, and the directory or the file whose mode says so.
fn reason(path: &Path, e: &io::Error) -> String {
    let ancestors: Vec<&Path> = path.ancestors().collect();
    // From the root: the last one that can be looked at is the one that lets nobody in, or the file itself.
    let seen = ancestors.into_iter().rev().map_while(|p| p.metadata().ok().map(|m| (p, m))).last();
    match seen {
        Some((at, meta)) if e.kind() == io::ErrorKind::PermissionDenied => {
            let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
            format!("{e}: {} has mode {mode:04o}, uid {uid}, gid {gid}", at.display())
        }
        Some((at, _)) if e.kind() == io::ErrorKind::NotFound => format!("{e}: there is nothing below {}", at.display()),
        _ => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_both_taken_and_unknown_ones_told() {
        assert_eq!(user("root").unwrap().0, Uid::from_raw(0));
        assert_eq!(user("0").unwrap().0, Uid::from_raw(0));
        assert_eq!(group("0").unwrap(), Gid::from_raw(0));
        let said = user("nobody-of-this-name").unwrap_err().to_string();
        assert_eq!(said, "there is no user \"nobody-of-this-name\" on this system");
        assert!(group("-1").is_err());
    }

    #[test]
    fn a_file_with_a_second_name_and_a_link_are_not_given_away() {
        let dir = std::env::temp_dir().join(format!("galeway-give-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("state/cluster-directory")).unwrap();
        let state = dir.join("state");
        for file in ["theirs", "state/lock", "state/cluster-ours"] {
            std::fs::write(dir.join(file), "").unwrap();
        }
        std::fs::hard_link(dir.join("theirs"), state.join("cluster-hard")).unwrap();
        std::os::unix::fs::symlink(dir.join("state/lock"), state.join("cluster-soft")).unwrap();
        let held = File::open(&state).unwrap();
        // To oneself everybody may give what one has.
        let given = |name: &str| give(&held, name.as_bytes(), FileType::RegularFile, Uid::effective(), None).unwrap();
        assert!(given("lock") && given("cluster-ours"));
        assert!(!given("cluster-hard") && !given("cluster-soft") && !given("cluster-directory"));
        let itself =
            |path: &Path| give(CWD, path.as_os_str().as_bytes(), FileType::Directory, Uid::effective(), None).unwrap();
        std::os::unix::fs::symlink(&state, dir.join("link")).unwrap();
        assert!(itself(&state) && !itself(&dir.join("link")));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_directory_that_is_in_the_way_is_named() {
        let e = io::Error::from(io::ErrorKind::NotFound);
        let said = reason(Path::new("/proc/no/such/file"), &e);
        assert!(said.ends_with("there is nothing below /proc"), "{said}");
        let e = io::Error::from(io::ErrorKind::PermissionDenied);
        let said = reason(Path::new("/etc/passwd"), &e);
        assert!(said.contains("/etc/passwd has mode 0644, uid 0, gid 0"), "{said}");
    }
}
