//! Where files are found once the root directory is another one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::SetupError;
use super::files::{hashed_files, read_from};

/// As many symbolic links as Linux follows in one path.
const MOST_LINKS: u32 = 40;

/// Where the files of one side are found. By default where they are written.
///
/// Of those whose path leads to the same file inside a new root as outside of it the changes can be seen there. All others are
/// what they were when they were read: the same paths lead to other files then, which nobody meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// What a path is called inside the new root; `None` = it leads out. Empty where the root stays.
    inside: BTreeMap<PathBuf, Option<PathBuf>>,
    /// The root has changed.
    entered: bool,
}

impl Reach {
    /// To be made before the root is changed to `root`. The paths are files, or directories of files with hashed names.
    pub(super) fn new<'a>(root: Option<&Path>, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let Some(root) = root else { return Self::default() };
        let inside = paths.into_iter().map(|path| (path.to_owned(), inside(root, path))).collect();
        Self { inside, entered: false }
    }

    /// From now on files are looked for inside the new root.
    pub(super) fn enter(&mut self) {
        self.entered = !self.inside.is_empty();
    }

    /// Whether the path leads out of the new root.
    pub(super) fn leads_out(&self, path: &Path) -> bool {
        matches!(self.inside.get(path), Some(None))
    }

    /// Whether it cannot be read any more, since it leads out.
    pub(super) fn is_lost(&self, path: &Path) -> bool {
        self.entered && self.leads_out(path)
    }

    /// The paths that lead out, in order.
    pub(super) fn lost(&self) -> Vec<PathBuf> {
        self.inside.iter().filter(|(_, inside)| inside.is_none()).map(|(path, _)| path.clone()).collect()
    }

    /// What the path is called now: one of [`Self::new`], or a file of such a directory.
    pub(super) fn here<'a>(&'a self, path: &'a Path) -> Cow<'a, Path> {
        if !self.entered {
            return path.into();
        }
        let of = |path: &Path| self.inside.get(path).and_then(Option::as_deref);
        if let Some(here) = of(path) {
            return here.into();
        }
        match (path.parent().and_then(of), path.file_name()) {
            (Some(dir), Some(name)) => dir.join(name).into(),
            _ => path.into(),
        }
    }

    /// The bytes of a file; errors name it as it is written.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, SetupError> {
        read_from(&self.here(path), path)
    }

    /// As [`hashed_files`], by the names that are written.
    pub(super) fn files(&self, path: &Path, infix: &str) -> io::Result<Vec<PathBuf>> {
        let here = self.here(path);
        let found = hashed_files(&here, infix)?;
        let written = |file: PathBuf| match file.file_name() {
            Some(name) if *file != *here => path.join(name),
            _ => path.to_owned(),
        };
        Ok(found.into_iter().map(written).collect())
    }
}

/// What `path` is called inside `root`; `None` where that is another file or none, or where a file of that directory is.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let (root, real) = (root.canonicalize().ok().map(|real| (root, real))?, path.canonicalize().ok()?);
    let (written, root) = root;
    // As it is written: a link that is exchanged is then followed. Written otherwise, what it leads to.
    let relative =
        path.strip_prefix(written).or_else(|_| path.strip_prefix(&root)).or_else(|_| real.strip_prefix(&root));
    let inside = Path::new("/").join(relative.ok()?);
    let same = |inside: &Path, real: &Path| found_in(&root, inside).is_ok_and(|found| found == real);
    if !same(&inside, &real) {
        return None;
    }
    for infix in ["", "r"] {
        let files = hashed_files(path, infix).ok()?;
        // A link that leads nowhere was not read either, and may have been made for the inside.
        let all = files
            .iter()
            .filter(|file| *file != path)
            .filter_map(|file| Some((file.file_name()?, file.canonicalize().ok()?)));
        for (name, real) in all {
            if !same(&inside.join(name), &real) {
                return None;
            }
        }
    }
    Some(inside)
}

/// Where `path` leads for a process whose root directory is `root`, which is written without links: there links start from it, and
/// nothing lies above it.
fn found_in(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut found = root.to_owned();
    // The last one comes first.
    let mut left: Vec<OsString> = reversed(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => found = root.to_owned(),
            Some(Component::ParentDir) if found != root => {
                found.pop();
            }
            Some(Component::Normal(name)) => {
                let next = found.join(name);
                if !next.symlink_metadata()?.is_symlink() {
                    found = next;
                    continue;
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::other("too many symbolic links"));
                }
                left.extend(reversed(&next.read_link()?));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn reversed(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    impl Reach {
        /// As inside a chroot, in which `written` is found as `here`.
        pub(in super::super) fn entered(written: &Path, here: &Path) -> Self {
            Self { inside: [(written.to_owned(), Some(here.to_owned()))].into(), entered: true }
        }
    }

    fn fresh(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("galeway-reach-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    #[test]
    fn what_leads_out_of_the_new_root_is_lost_and_the_rest_is_found_in_it() {
        let base = fresh("jail");
        let (jail, out) = (base.join("jail"), base.join("out"));
        for name in ["jail/certs", "jail/linked", "jail/real", "out", "jail/deep/er"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let file = |name: &str| fs::write(base.join(name), name).unwrap();
        ["jail/ca.pem", "out/ca.pem", "jail/certs/5f15c80c.0", "jail/real/5f15c80c.r0", "jail/deep/ca.pem"]
            .into_iter()
            .for_each(file);
        let link = |target: &str, name: &str| symlink(target, base.join(name)).unwrap();
        // Made for the inside, and for nobody before.
        link("/real/5f15c80c.r0", "jail/certs/5f15c80c.r0");
        link(out.join("ca.pem").to_str().unwrap(), "jail/linked/5f15c80c.0");
        link(jail.join("ca.pem").to_str().unwrap(), "jail/absolute.pem");
        link("deep/er/../ca.pem", "jail/relative.pem");
        link("../out/ca.pem", "jail/up.pem");
        link("loop.pem", "jail/loop.pem");
        link("jail", "by_link");
        link("jail/real", "real_by_link");
        let reach = |root: &str, path: &str| inside(&base.join(root), &base.join(path));
        let found = |path: &str| Some(PathBuf::from(path));
        assert_eq!(reach("jail", "jail/ca.pem"), found("/ca.pem"));
        assert_eq!(reach("jail", "jail/certs"), found("/certs"));
        assert_eq!(reach("jail", "jail/relative.pem"), found("/relative.pem"));
        assert_eq!(reach("by_link", "by_link/ca.pem"), found("/ca.pem"));
        assert_eq!(reach("by_link", "jail/ca.pem"), found("/ca.pem"));
        assert_eq!(reach("jail", "by_link/ca.pem"), found("/ca.pem"));
        assert_eq!(reach("jail", "real_by_link"), found("/real"));
        for lost in ["out/ca.pem", "jail/linked", "jail/absolute.pem", "jail/up.pem", "jail/loop.pem", "jail/missing"] {
            assert_eq!(reach("jail", lost), None, "{lost}");
        }
        assert_eq!(inside(Path::new("/"), &jail.join("absolute.pem")), Some(jail.join("absolute.pem")));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn files_are_told_by_the_names_that_are_written() {
        let (jail, here) = (PathBuf::from("/jail/certs"), fresh("names"));
        fs::write(here.join("5f15c80c.0"), "x").unwrap();
        let inside = [(jail.clone(), Some(here.clone())), ("/etc/ca.pem".into(), None)];
        let mut reach = Reach { inside: inside.into(), entered: false };
        assert_eq!(reach.here(&jail), jail);
        assert!(reach.leads_out(Path::new("/etc/ca.pem")) && !reach.is_lost(Path::new("/etc/ca.pem")));
        reach.enter();
        assert!(reach.is_lost(Path::new("/etc/ca.pem")) && !reach.is_lost(&jail));
        assert_eq!(reach.files(&jail, "").unwrap(), [jail.join("5f15c80c.0")]);
        assert_eq!(reach.read(&jail.join("5f15c80c.0")).unwrap(), b"x");
        let said = reach.read(&jail.join("5f15c80c.1")).unwrap_err().to_string();
        assert!(said.starts_with("/jail/certs/5f15c80c.1: "), "{said}");
        fs::remove_dir_all(here).unwrap();
    }
}
