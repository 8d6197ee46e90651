//! Which image a service means. A name is looked up when somebody applies; until then the service keeps the image that it
//! has, also when another one has got the name. The root file systems of instances come and go with them.
#![forbid(unsafe_code)]

use super::owner::Owner;
use super::work::{Done, Job, Shop};
use crate::api::model::Problem;
use crate::image::bind::bind;
use crate::image::store::Store;
use crate::image::{Kind, root};
use crate::names::{Instance, ServiceName};
use crate::unit::service::{Image, Service};
use crate::unit::{Loaded, load_dir, locate};

impl Owner {
    /// Looks up the names of images anew: of these services, or of all.
    pub(super) fn look_up_images(&mut self, only: Option<&[ServiceName]>) {
        let store = Store::of(&self.options.dirs);
        for (service, (loaded, _)) in load_dir(&self.options.dirs.services).services {
            if let Image::Stored { name, id: None, .. } = &loaded.image
                && only.is_none_or(|only| only.contains(&service))
                && let Ok(record) = store.find(name)
            {
                self.images.insert(service, (name.clone(), record.id));
            }
        }
    }

    /// The id that a service keeps for the name of an image.
    fn kept_image(&self, service: &ServiceName, image: &str) -> Option<String> {
        if let Some((name, id)) = self.images.get(service)
            && name == image
        {
            return Some(id.clone());
        }
        match &self.services.get(service)?.service.image {
            Image::Stored { name, id, .. } if name == image => id.clone(),
            _ => None,
        }
    }

    /// Completes services by what their images say; those whose image is not there are broken.
    pub(super) fn bind_images(&self, loaded: &mut Loaded) {
        let mut broken = Vec::new();
        for (name, (service, text)) in &mut loaded.services {
            let before = text.clone();
            if let Err(e) = self.bind_image(service, text) {
                let (line, column) = locate(&before, "image").unwrap_or((0, 0));
                let file = self.options.dirs.service_file(name).display().to_string();
                loaded.problems.push(Problem { file, line, column, key: "image".into(), message: e.text });
                broken.push(name.clone());
            }
        }
        for name in broken {
            loaded.services.remove(&name);
            loaded.broken.insert(name);
        }
    }

    /// The same for one.
    pub(super) fn bind_image(&self, service: &mut Service, text: &mut String) -> crate::image::Result<()> {
        let Image::Stored { name, id: None, .. } = &service.image else {
            return bind(&Store::of(&self.options.dirs), service, text, None);
        };
        let kept = self.kept_image(&service.name, name);
        bind(&Store::of(&self.options.dirs), service, text, kept.as_deref())
    }

    /// Versions of before, which may go on without their image for as long as nobody starts them.
    pub(super) fn bind_old(&self, service: &mut Service, text: &mut String) {
        if let Err(e) = self.bind_image(service, text) {
            tracing::warn!("{}: {e}", service.name);
        }
    }

    /// What an instance that is gone has written goes with it.
    pub(super) fn forget_root(&self, instance: &Instance) {
        if let Err(e) = root::forget(&self.options.dirs, instance) {
            tracing::warn!("the files of {instance}: {e}, tried again by the next daemon");
        }
        self.sweep_roots(false);
    }

    /// Removes what was set aside; with `all` also what belongs to instances that nobody knows.
    pub(super) fn sweep_roots(&self, all: bool) {
        let dirs = self.options.dirs.clone();
        if !dirs.layers().exists() {
            return;
        }
        if all {
            let image = self.journal.image();
            let known = |i: &Instance| self.slots.contains_key(i) || image.instances.contains_key(i);
            let of_strays = |i: &Instance| self.strays.keys().any(|r| r.instance == *i);
            if let Err(e) = root::sweep_unknown(&dirs, &|i| known(i) || of_strays(i)) {
                tracing::warn!("{e}");
            }
        }
        tokio::task::spawn_blocking(move || {
            if let Err(e) = root::sweep(&dirs) {
                tracing::warn!("{e}");
            }
        });
    }
}

impl Shop {
    /// Makes the root of an instance of an image, beside the loop: a copy takes long.
    pub(super) async fn image_root(&self, job: &Job, version: &str) -> Result<(), (String, String)> {
        let Image::Stored { id, .. } = &job.service.image else { return Ok(()) };
        let id = id.clone().unwrap_or_default();
        let (dirs, mode) = ((*self.dirs).clone(), self.image_root);
        let (instance, version) = (job.run.instance.clone(), version.to_owned());
        let made =
            tokio::task::spawn_blocking(move || root::ready(&dirs, &instance, &version, &id, mode)).await;
        match made {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(text))) => {
                self.tell(Done::Tell(job.run.clone(), "image-root", text));
                Ok(())
            }
            Ok(Err(e)) if e.kind == Kind::Missing => Err(("image-missing".into(), e.text)),
            Ok(Err(e)) => Err(("image-root".into(), e.text)),
            Err(e) => Err(("internal".into(), e.to_string())),
        }
    }
}
