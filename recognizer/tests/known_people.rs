//! People come and go while it runs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;

use safelight_database::{Database, Options};
use safelight_proto::recognizer::v1::{EnrollPersonRequest, ForgetPersonRequest, ListPeopleRequest};
use support::fixtures::jpeg;
use support::log::Log;
use support::photographs;
use support::{Place, Server, eventually, require_models};
use tonic::Code;

#[tokio::test]
async fn files_that_come_change_and_go_are_followed() {
    require_models!();
    let place = Place::new();
    let server = place.start().await;
    let obama = place.sample("obama2.jpg");
    let biden = place.sample("biden.jpg");
    assert_eq!(server.identify(&obama).await.unwrap(), "not_found");

    place.know("obama.jpg", "barack.jpg");
    server.knows(&["barack.jpg"]).await;
    assert_eq!(server.identify(&obama).await.unwrap(), "barack.jpg");

    // The same name, another face.
    place.know("biden.jpg", "barack.jpg");
    eventually_identifies(&server, &biden, "barack.jpg").await;
    assert_eq!(server.identify(&obama).await.unwrap(), "not_found");

    fs::remove_file(place.path("known/barack.jpg")).unwrap();
    server.knows(&[]).await;
    assert_eq!(server.identify(&biden).await.unwrap(), "not_found");
}

async fn eventually_identifies(server: &Server, uri: &str, expected: &str) {
    let begun = tokio::time::Instant::now();
    while server.identify(uri).await.unwrap() != expected {
        assert!(
            begun.elapsed() < support::DEADLINE,
            "{uri} is never identified as {expected}"
        );
    }
}

#[tokio::test]
async fn the_name_is_the_file_name_without_its_number() {
    require_models!();
    let place = Place::new();
    place.know("obama.jpg", "barack_obama_1.jpg");
    place.know("obama2.jpg", "barack_obama_2.jpg");
    place.know("biden.jpg", "joe.JPG");
    fs::write(place.path("known/README.txt"), "who is who").unwrap();
    fs::write(place.path("known/.hidden.jpg"), "no").unwrap();
    fs::create_dir(place.path("known/folder.jpg")).unwrap();
    let log = Log::capture();
    let server = place.start().await;
    let people = server
        .client()
        .list_people(ListPeopleRequest {})
        .await
        .unwrap()
        .into_inner()
        .people;
    let people: Vec<(String, Vec<String>)> = people
        .into_iter()
        .map(|person| (person.name, person.image_names))
        .collect();
    let expected = [
        (
            "barack_obama".to_owned(),
            vec!["barack_obama_1.jpg".to_owned(), "barack_obama_2.jpg".to_owned()],
        ),
        ("joe".to_owned(), vec!["joe.JPG".to_owned()]),
    ];
    assert_eq!(people, expected);
    let found = server.recognize(&place.sample("obama3.jpg")).await.unwrap();
    assert_eq!(
        found.faces[0].r#match.as_ref().unwrap().person_name,
        "barack_obama"
    );
    assert_eq!(log.lines_with(&["WARN"]), Vec::<String>::new());
}

#[tokio::test]
async fn pictures_that_are_no_samples_are_named_once() {
    require_models!();
    let place = Place::knowing_obama();
    let known = place.path("known");
    fs::write(known.join("nobody_1.jpg"), jpeg(&photographs::nobody(400, 300))).unwrap();
    fs::write(known.join("crowd_1.jpg"), jpeg(&photographs::twenty_heads())).unwrap();
    fs::write(known.join("text_1.jpg"), "hello").unwrap();
    let log = Log::capture();
    let server = place.start().await;
    let warned = |name: &str, reason: &str| log.lines_with(&["WARN", name, reason]).len();
    let all = || {
        [
            warned("nobody_1.jpg", "there is no face in it"),
            warned("crowd_1.jpg", "there are 20 faces in it"),
            warned("text_1.jpg", "the file is not a picture"),
        ]
    };
    eventually(|| all() == [1, 1, 1], || format!("{:?}", all())).await;
    assert_eq!(server.known_pictures(), ["obama_1.jpg"]);
    // The next look, which the new file shows to be over, does not warn again.
    place.know("biden.jpg", "joe_1.jpg");
    server.knows(&["joe_1.jpg", "obama_1.jpg"]).await;
    assert_eq!(all(), [1, 1, 1]);
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_taken_when_it_is_whole() {
    require_models!();
    let place = Place::knowing_obama();
    let log = Log::capture();
    let server = place.start().await;
    let whole = fs::read(support::sample("biden.jpg")).unwrap();
    let path = place.path("known/joe_1.jpg");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let warnings = || log.lines_with(&["WARN", "joe_1.jpg", "cut off"]);
    eventually(
        || !warnings().is_empty(),
        || "no warning of the half file".to_owned(),
    )
    .await;
    fs::write(&path, &whole).unwrap();
    server.knows(&["joe_1.jpg", "obama_1.jpg"]).await;
}

#[tokio::test]
async fn a_file_that_is_overwritten_in_place_keeps_its_person_until_it_is_judged() {
    require_models!();
    let place = Place::knowing_obama();
    let log = Log::capture();
    let server = place.start().await;
    let path = place.path("known/obama_1.jpg");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let warnings = || log.lines_with(&["WARN", "obama_1.jpg", "cut off"]);
    // Known until the second look finds the same half file.
    let judged = || {
        let known = server.known_pictures();
        let judged = !warnings().is_empty();
        assert!(judged || known == ["obama_1.jpg"], "{known:?}");
        judged
    };
    eventually(judged, || "no warning of the half file".to_owned()).await;
    server.knows(&[]).await;
    fs::write(&path, &whole).unwrap();
    server.knows(&["obama_1.jpg"]).await;
}

#[tokio::test]
async fn a_folder_that_is_away_makes_nobody_forgotten() {
    require_models!();
    let place = Place::knowing_obama();
    let log = Log::capture();
    let server = place.start().await;
    fs::rename(place.path("known"), place.path("away")).unwrap();
    let warnings = || log.lines_with(&["WARN", "KNOWN_PEOPLE cannot be read"]).len();
    eventually(|| warnings() == 1, || format!("{} warnings", warnings())).await;
    assert_eq!(
        server.identify(&place.sample("obama2.jpg")).await.unwrap(),
        "obama_1.jpg"
    );
    fs::copy(support::sample("biden.jpg"), place.path("away/joe_1.jpg")).unwrap();
    fs::rename(place.path("away"), place.path("known")).unwrap();
    server.knows(&["joe_1.jpg", "obama_1.jpg"]).await;
    assert_eq!(warnings(), 1);
}

#[tokio::test]
async fn what_was_encoded_once_is_not_encoded_again_at_the_next_start() {
    require_models!();
    let place = Place::knowing_obama();
    place.know("biden.jpg", "joe_1.jpg");
    let kept = || {
        let mut files = Vec::new();
        for folder in fs::read_dir(place.path("cache")).unwrap() {
            files.extend(
                fs::read_dir(folder.unwrap().path())
                    .unwrap()
                    .map(|file| file.unwrap().path()),
            );
        }
        files.retain(|file| file.extension().is_none());
        files
    };
    let first = place.start().await;
    eventually(|| kept().len() == 2, || format!("{:?}", kept())).await;
    drop(first);
    // Swapped, the two show who is asked: the pictures or what was kept of them.
    let [one, other] = kept().try_into().unwrap();
    let aside = place.path("cache/aside");
    fs::rename(&one, &aside).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(&aside, &other).unwrap();
    let second = place.start().await;
    assert_eq!(
        second.identify(&place.sample("obama2.jpg")).await.unwrap(),
        "joe_1.jpg"
    );
}

async fn database(place: &Place) -> Database {
    let url = format!("sqlite://{}", place.path("people.db").display());
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    database
}

#[tokio::test]
async fn a_person_who_is_enrolled_is_known_at_once_and_until_forgotten() {
    require_models!();
    let place = Place::new();
    let server = place.start_with(&[], Some(database(&place).await)).await;
    server.serving().await;
    let (obama, obama2) = (place.sample("obama.jpg"), place.sample("obama2.jpg"));
    let request = || EnrollPersonRequest {
        person_name: " Barack ".into(),
        image_uri: obama.clone(),
    };
    for _ in 0..2 {
        let enrolled = server
            .client()
            .enroll_person(request())
            .await
            .unwrap()
            .into_inner();
        let person = enrolled.person.unwrap();
        assert_eq!(
            (person.name.as_str(), person.image_names),
            ("Barack", vec!["obama.jpg".to_owned()])
        );
        assert!(enrolled.r#box.unwrap().width > 100);
        assert_eq!(server.identify(&obama2).await.unwrap(), "obama.jpg");
    }
    let forget = || ForgetPersonRequest {
        person_name: "Barack".into(),
    };
    let forgotten = server
        .client()
        .forget_person(forget())
        .await
        .unwrap()
        .into_inner()
        .forgotten;
    assert_eq!(forgotten, 1);
    assert_eq!(server.identify(&obama2).await.unwrap(), "not_found");
    let again = server.client().forget_person(forget()).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test]
async fn people_whom_another_program_enrolls_are_known_soon_and_at_the_next_start() {
    require_models!();
    let place = Place::new();
    let database = database(&place).await;
    let server = place.start_with(&[], Some(database.clone())).await;
    server.serving().await;
    let found = server.recognize(&place.sample("obama.jpg")).await.unwrap();
    let descriptor = &found.faces[0].descriptor;
    let people = database.people();
    let (name, model, version) = (found.model_name, found.model_version.clone(), "obama.jpg");
    people
        .enroll("Barack", version, [1; 32], Some(descriptor), &name, &model, None)
        .await
        .unwrap();
    server.knows(&["obama.jpg"]).await;
    drop(server);
    let next = place.start_with(&[], Some(database)).await;
    next.serving().await;
    assert_eq!(
        next.identify(&place.sample("obama2.jpg")).await.unwrap(),
        "obama.jpg"
    );
}

#[tokio::test]
async fn a_sample_of_another_model_is_described_again_from_its_picture() {
    require_models!();
    let place = Place::new();
    let database = database(&place).await;
    let (obama, biden) = (place.sample("obama.jpg"), place.sample("biden.jpg"));
    let people = database.people();
    let hash = |uri: &str| *blake3::hash(&fs::read(uri).unwrap()).as_bytes();
    let other = Some([0.5; 512].as_slice());
    people
        .enroll(
            "Barack",
            "b.jpg",
            hash(&obama),
            other,
            "arcface",
            "3",
            Some(&obama),
        )
        .await
        .unwrap();
    people
        .enroll("Joe", "j.jpg", hash(&biden), other, "arcface", "3", None)
        .await
        .unwrap();
    let log = Log::capture();
    let server = place.start_with(&[], Some(database)).await;
    server.serving().await;
    assert_eq!(server.known_pictures(), ["b.jpg"]);
    assert_eq!(
        server.identify(&place.sample("obama2.jpg")).await.unwrap(),
        "b.jpg"
    );
    assert_eq!(
        log.lines_with(&["WARN", "j.jpg", "its picture was not kept"])
            .len(),
        1
    );
}

#[tokio::test]
async fn only_pictures_with_one_face_enroll_anybody() {
    require_models!();
    let place = Place::new();
    let server = place.start_with(&[], Some(database(&place).await)).await;
    server.serving().await;
    let landscape = place.picture("landscape.jpg", &jpeg(&photographs::nobody(400, 300)));
    let crowd = place.picture("crowd.jpg", &jpeg(&photographs::twenty_heads()));
    let obama = place.sample("obama.jpg");
    let missing = place.path("pictures/none.jpg").to_str().unwrap().to_owned();
    for (name, uri, code, message) in [
        (
            "Ann",
            &landscape,
            Code::FailedPrecondition,
            "there is no face in it",
        ),
        (
            "Ann",
            &crowd,
            Code::FailedPrecondition,
            "there are 20 faces in it",
        ),
        ("Ann", &missing, Code::NotFound, "no such file"),
        (" ", &obama, Code::InvalidArgument, "name is empty"),
    ] {
        let request = EnrollPersonRequest {
            person_name: name.to_owned(),
            image_uri: uri.clone(),
        };
        let status = server.client().enroll_person(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{uri}");
        assert!(status.message().contains(message), "{}", status.message());
    }
    assert_eq!(server.known_pictures(), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_database_the_folder_is_where_people_are_kept() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let image_uri = place.sample("obama.jpg");
    let request = EnrollPersonRequest {
        person_name: "Barack".into(),
        image_uri,
    };
    let status = server.client().enroll_person(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("KNOWN_PEOPLE"), "{}", status.message());
    let request = ForgetPersonRequest {
        person_name: "obama".into(),
    };
    let status = server.client().forget_person(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("remove these files"),
        "{}",
        status.message()
    );
}
