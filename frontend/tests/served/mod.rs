//! A frontend on a free port, on SQLite, as the tests talk to it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use safelight_database::{
    Claim, ClaimOutcome, Database, NewFace, NewImage, NewMatch, Options, Recognition, TaskKind,
};
use safelight_frontend::{Deps, Settings, serve};
use safelight_media::{Library, MediaArgs};
use safelight_service::Shutdown;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A picture of one pixel.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

pub struct Served {
    pub address: SocketAddr,
    pub database: Database,
    pub shutdown: Shutdown,
    pub client: reqwest::Client,
    pub pictures: PathBuf,
    pub folder: TempDir,
}

impl Served {
    pub async fn start() -> Self {
        Self::with_settings(Settings::default()).await
    }

    pub async fn with_settings(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("safelight.db").display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        database.migrate().await.unwrap();
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        let library = Library::new(&MediaArgs::with_roots([pictures.clone()])).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let deps = Deps {
            database: database.clone(),
            library,
            settings,
        };
        tokio::spawn(serve(listener, deps, shutdown.clone()));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            address,
            database,
            shutdown,
            client,
            pictures,
            folder,
        }
    }

    pub fn path(&self, name: &str) -> String {
        self.pictures.join(name).display().to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// A page that is there.
    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        response.text().await.unwrap()
    }

    /// Records images, as the receiver does.
    pub async fn accept(&self, names: &[&str]) -> Vec<i64> {
        let image = |name: &&str| NewImage {
            path: self.path(name),
            project: None,
        };
        let images: Vec<NewImage> = names.iter().map(image).collect();
        let accepted = self.database.images().accept(&images).await.unwrap();
        accepted.into_iter().map(|image| image.id).collect()
    }

    pub async fn claim(&self, id: i64) -> Claim {
        let lease = Duration::from_secs(60);
        match self
            .database
            .tasks()
            .claim_subject(id, TaskKind::Identify, lease)
            .await
            .unwrap()
        {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("expected a claim, got {other:?}"),
        }
    }

    /// An image with these people in it, as the processor leaves it.
    pub async fn processed(&self, name: &str, people: &[&str]) -> i64 {
        let id = self.accept(&[name]).await[0];
        let claim = self.claim(id).await;
        let faces = people
            .iter()
            .enumerate()
            .map(|(index, person)| face(20 + 100 * index as i32, Some(person)));
        let recognition = recognition(faces.collect());
        self.database
            .tasks()
            .complete(&claim, &recognition)
            .await
            .unwrap();
        id
    }

    pub async fn failed(&self, name: &str, reason: &str) -> i64 {
        let id = self.accept(&[name]).await[0];
        let claim = self.claim(id).await;
        self.database
            .tasks()
            .fail(&claim, safelight_database::Fault::Bad, reason)
            .await
            .unwrap();
        id
    }

    pub async fn waiting(&self, name: &str) -> i64 {
        let id = self.accept(&[name]).await[0];
        let claim = self.claim(id).await;
        let delay = Duration::from_secs(60);
        self.database
            .tasks()
            .wait(&claim, delay, "recognizer", "connection refused")
            .await
            .unwrap();
        id
    }
}

pub fn face(left: i32, person: Option<&str>) -> NewFace {
    let matched = |person: &str| NewMatch {
        person: person.to_owned(),
        sample: format!("{person}_1.jpg"),
        distance: Some(0.375),
    };
    NewFace {
        left,
        top: 40,
        width: 80,
        height: 90,
        landmarks: Vec::new(),
        descriptor: vec![0.0; 128],
        person: person.map(matched),
    }
}

pub fn recognition(faces: Vec<NewFace>) -> Recognition {
    Recognition {
        width: 640,
        height: 480,
        model: "dlib".into(),
        model_version: "1".into(),
        faces,
    }
}

/// The ids of the rows of a list, from top to bottom.
pub fn rows(page: &str) -> Vec<i64> {
    page.split("<tr id=\"image-")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

/// The address of the link with this relation.
pub fn link(page: &str, relation: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("rel=\"{relation}\" href=\""))?;
    Some(rest.split('"').next().unwrap().replace("&#38;", "&"))
}

/// The number on top for a status.
pub fn count(page: &str, key: &str) -> u64 {
    let (_, rest) = page
        .split_once(&format!("class=\"count {key}"))
        .unwrap_or_else(|| panic!("no count of {key}"));
    let (_, rest) = rest.split_once("<b>").unwrap();
    rest.split('<').next().unwrap().parse().unwrap()
}
