//! Health, reflection, the beginning and the end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use safelight_media::ConfigError;
use safelight_proto::facerecog::health_check_client::HealthCheckClient;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::{Empty, IdentifyRequest};
use safelight_recognizer::{AnalyzeError, Recognizer, StartError, State};
use support::{DEADLINE, Place, Server, eventually, require_models, tools};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const NAMES: [&str; 3] = ["", "facerecog.Identify", "safelight.recognizer.v1.Recognizer"];

async fn health(server: &Server, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(server.channel.clone()).check(request).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

async fn is_ready(server: &Server) -> bool {
    HealthCheckClient::new(server.channel.clone())
        .health_check(Empty {})
        .await
        .unwrap()
        .into_inner()
        .ready
}

#[tokio::test]
async fn it_serves_when_the_known_people_were_read_and_not_before() {
    require_models!();
    let place = Place::knowing_obama();
    let picture = place.sample("obama2.jpg");
    fs::rename(place.path("known"), place.path("later")).unwrap();
    let server = place.start_with(&[], None).await;
    for name in NAMES {
        assert_eq!(
            health(&server, name).await,
            Ok(ServingStatus::NotServing),
            "{name:?}"
        );
    }
    assert!(!is_ready(&server).await);
    // Better no answer than "nobody is known here".
    let status = server.identify(&picture).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    fs::rename(place.path("later"), place.path("known")).unwrap();
    server.serving().await;
    for name in NAMES {
        assert_eq!(
            health(&server, name).await,
            Ok(ServingStatus::Serving),
            "{name:?}"
        );
    }
    assert!(is_ready(&server).await);
    assert_eq!(server.identify(&picture).await.unwrap(), "obama_1.jpg");
    assert_eq!(health(&server, "no.such.Service").await, Err(Code::NotFound));
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let services = [
        "facerecog.HealthCheck",
        "facerecog.Identify",
        "grpc.health.v1.Health",
        "safelight.recognizer.v1.Recognizer",
    ];

    macro_rules! listed {
        ($version:ident) => {{
            use pb::server_reflection_request::MessageRequest;
            use pb::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as pb;
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request,
            };
            let mut client =
                pb::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
            let mut answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await
                .unwrap()
                .into_inner();
            match answers.next().await.unwrap().unwrap().message_response {
                Some(MessageResponse::ListServicesResponse(list)) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<Vec<String>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for listed in [listed!(v1), listed!(v1alpha)] {
        assert!(
            services
                .iter()
                .all(|service| listed.iter().any(|name| name == service)),
            "{listed:?}"
        );
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_tells_those_who_watch() {
    require_models!();
    let place = Place::knowing_obama();
    let mut server = place.start().await;
    let mut watching = HealthClient::new(server.channel.clone());
    let watched = watching
        .watch(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap();
    let mut watched = watched.into_inner();
    let mut next = async || watched.next().await.map(|answer| answer.unwrap().status());
    assert_eq!(next().await, Some(ServingStatus::Serving));

    // With one worker one of them runs, and the other waits, when the shutdown comes.
    let uri = place.sample("obama3.jpg");
    let stop = async {
        let taken = || server.recognizer.in_progress();
        eventually(|| taken() == 2, || format!("{} were taken", taken())).await;
        server.shutdown.trigger();
        server
            .recognizer
            .state()
            .wait_for(|state| *state == State::Stopping)
            .await
            .unwrap();
        server.recognizer.analyze(&uri).await
    };
    let (first, second, late) = tokio::join!(server.identify(&uri), server.identify(&uri), stop);
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("obama_1.jpg".to_owned(), "obama_1.jpg".to_owned())
    );
    assert!(matches!(late, Err(AnalyzeError::NotServing(_))), "{late:?}");
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    let begun = std::time::Instant::now();
    server.ended().await;
    assert!(begun.elapsed().as_secs() < 5, "the watcher held the shutdown up");
}

#[tokio::test]
async fn models_that_are_missing_or_damaged_are_named_at_the_start() {
    require_models!();
    let place = Place::new();
    let models = place.path("models");
    fs::create_dir(&models).unwrap();
    let start = || {
        let flags = ["--models-dir", models.to_str().unwrap()];
        let error = Recognizer::start(place.config(&flags), place.library(), None)
            .err()
            .unwrap();
        error.to_string()
    };
    assert!(
        start().contains("shape_predictor_5_face_landmarks.dat"),
        "{}",
        start()
    );
    for file in [
        "shape_predictor_5_face_landmarks.dat",
        "dlib_face_recognition_resnet_model_v1.dat",
    ] {
        fs::copy(tools().join("models").join(file), models.join(file)).unwrap();
    }
    let network = models.join("dlib_face_recognition_resnet_model_v1.dat");
    let whole = fs::read(&network).unwrap();
    fs::write(&network, &whole[..whole.len() / 2]).unwrap();
    let text = start();
    assert!(
        text.contains("is not the file that it should be") && text.contains("fetch-models.sh"),
        "{text}"
    );
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_named_at_the_start() {
    require_models!();
    let place = Place::new();
    let config = place.config(&["--recognizer-shortest", "900", "--recognizer-longest", "800"]);
    let error = Recognizer::start(config, place.library(), None).err().unwrap();
    let StartError::Config(ConfigError { variable, value, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((variable, value.as_str()), ("RECOGNIZER_SHORTEST", "900"));
}

#[test]
fn the_program_ends_with_one_line_about_a_wrong_value() {
    for (variable, value) in [
        ("RECOGNIZER_WORKERS", "many"),
        ("RECOGNIZER_LISTEN", "here"),
        ("RECOGNIZER_TOLERANCE", "-1"),
        ("KNOWN_PEOPLE_RESCAN", "0"),
        ("MODELS_DIR", "/no/such/folder"),
        ("MEDIA_ROOTS", "pictures"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_safelight-recognizer"))
            .env_clear()
            .envs([("MEDIA_ROOTS", "/tmp"), ("RECOGNIZER_LISTEN", "127.0.0.1:0")])
            .env("RECOGNIZER_HTTP_LISTEN", "127.0.0.1:0")
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{variable}: {said}");
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("configuration: "))
            .collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(lines[0].contains(variable) && lines[0].contains(value), "{said}");
    }
}

#[tokio::test]
async fn the_program_recognizes_and_ends_when_it_is_told_to() {
    require_models!();
    let place = Place::knowing_obama();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_safelight-recognizer"))
        .env_clear()
        .env("MEDIA_ROOTS", place.path("pictures"))
        .env("KNOWN_PEOPLE", place.path("known"))
        .env("MODELS_DIR", tools().join("models"))
        .env("RECOGNIZER_CACHE", place.path("cache"))
        .envs([
            ("RECOGNIZER_LISTEN", "127.0.0.1:0"),
            ("RECOGNIZER_HTTP_LISTEN", "127.0.0.1:0"),
        ])
        .envs([("RECOGNIZER_WORKERS", "1"), ("LOG_FORMAT", "json")])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut line_with = async |word: &str| {
        let next = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the program goes on");
                if line.contains(word) {
                    return line;
                }
            }
        };
        tokio::time::timeout(DEADLINE, next).await.unwrap()
    };
    let listening = line_with("listening").await;
    let address = listening
        .split("\"grpc\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    line_with("loaded models and known people").await;

    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let image_path = place.sample("obama2.jpg");
    let answer = IdentifyClient::new(channel)
        .identify(IdentifyRequest { image_path })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().image_name, "obama_1.jpg");

    let pid = program.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let ended = tokio::time::timeout(DEADLINE, program.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
}
