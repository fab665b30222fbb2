//! A kernel of Debian's, fetched with apt and unpacked beside the build: nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::exec;

/// Modules that come along: what the dataplane, its tests and nodes may ask the kernel to load.
const MODULES: [&str; 9] = [
    "net",
    "crypto",
    "lib",
    "arch/x86/crypto",
    "fs/overlayfs",
    "drivers/net/veth.ko",
    "drivers/net/vxlan",
    "drivers/net/dummy.ko",
    "drivers/net/macvlan.ko",
];

/// An unpacked kernel.
pub struct Image {
    /// Where it lies.
    pub folder: PathBuf,
    /// Its full version: `6.1.0-56-cloud-amd64`.
    pub release: String,
}

impl Image {
    /// The newest that apt offers of `version` (two numbers). Downloads and unpacks it the first time.
    pub fn fetch(folder: &Path, version: &str) -> anyhow::Result<Self> {
        let names = exec::output(Command::new("apt-cache").args(["pkgnames", "linux-image-"]))
            .context("ask apt-cache for kernels: other kernels are tested on Debian only")?;
        let Some(release) = newest(&names, version) else {
            bail!(
                "apt offers no linux-image-{version}*-cloud-amd64; is `apt-get update` due, or backports missing?"
            );
        };
        let image = Self { folder: folder.join(&release), release };
        if !image.vmlinuz().exists() {
            image.unpack()?;
        }
        Ok(image)
    }

    /// The file to boot.
    pub fn vmlinuz(&self) -> PathBuf {
        self.folder.join(format!("unpacked/boot/vmlinuz-{}", self.release))
    }

    fn modules(&self) -> PathBuf {
        self.folder.join(format!("unpacked/lib/modules/{}", self.release))
    }

    /// Through a folder of another name, so that half of it is never taken for a whole one.
    fn unpack(&self) -> anyhow::Result<()> {
        exec::say(&format!("fetching kernel {}", self.release));
        let fresh = self.folder.join("fresh");
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        let package = format!("linux-image-{}", self.release);
        exec::run(
            Command::new("apt-get")
                .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
                .arg(&package)
                .current_dir(&self.folder),
        )?;
        let deb = fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
            .with_context(|| format!("find what apt downloaded for {package}"))?;
        exec::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&fresh))?;
        fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
        fs::rename(&fresh, self.folder.join("unpacked")).context("name the unpacked kernel")
    }

    /// Copies the modules that may be wanted below `root`, uncompressed, with the index that modprobe reads.
    pub fn install_modules(&self, root: &Path) -> anyhow::Result<()> {
        let target = root.join("lib/modules").join(&self.release);
        for module in MODULES {
            let kernel = self.modules().join("kernel");
            // Newer kernels are packed module by module.
            let packed = kernel.join(format!("{module}.xz"));
            let source = if packed.exists() { packed } else { kernel.join(module) };
            if !source.exists() {
                continue;
            }
            let place = target.join("kernel").join(module);
            let parent = place.parent().unwrap_or(&target);
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            exec::run(Command::new("cp").arg("-r").arg(&source).arg(parent))?;
        }
        for list in ["modules.builtin", "modules.order"] {
            fs::copy(self.modules().join(list), target.join(list))
                .with_context(|| format!("copy {list}"))?;
        }
        let unpack = "find . -name '*.ko.xz' -exec xz -d {} +";
        exec::run(Command::new("sh").args(["-c", unpack]).current_dir(&target))?;
        let busybox = ["depmod", "-b"];
        exec::run(Command::new("busybox").args(busybox).arg(root).arg(&self.release))
    }
}

/// The newest release of a version among package names.
fn newest(names: &str, version: &str) -> Option<String> {
    let releases = names.lines().filter_map(|name| {
        let release = name.strip_prefix("linux-image-")?;
        let rest = release.strip_prefix(version)?;
        (rest.starts_with('.') && release.ends_with("-cloud-amd64")).then_some(release)
    });
    releases.max_by_key(|release| numbers(release)).map(str::to_owned)
}

fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_version_is_taken() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-10-cloud-amd64\nlinux-image-6.1.0-11-amd64\n\
                     linux-image-6.12.9+deb12-cloud-amd64\nlinux-image-6.1.0-12-cloud-amd64-dbg\nlinux-image-6.12-cloud-amd64\n";
        assert_eq!(newest(names, "6.1").as_deref(), Some("6.1.0-10-cloud-amd64"));
        assert_eq!(newest(names, "6.12").as_deref(), Some("6.12.9+deb12-cloud-amd64"));
        assert_eq!(newest(names, "5.15"), None);
    }
}
