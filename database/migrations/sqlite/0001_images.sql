-- The same model as for MySQL, with what SQLite does differently: a key may be as long as a path, so there
-- is no hash of it; and the queue of the embedded set-up is a table beside the others.
--
-- Times are milliseconds since the Unix epoch.

CREATE TABLE person (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE UNIQUE INDEX person_name ON person (name);

CREATE TABLE person_images (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    image_name VARCHAR(255) NOT NULL,
    person_id BIGINT NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    content_hash BLOB NULL,
    descriptor BLOB NULL,
    model VARCHAR(255) NOT NULL DEFAULT '',
    model_version VARCHAR(255) NOT NULL DEFAULT '',
    uri VARCHAR(4096) NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE UNIQUE INDEX person_images_content ON person_images (person_id, content_hash);
CREATE INDEX person_images_name ON person_images (image_name);

-- Counts changes, so that whoever keeps a copy sees by one read whether it is still true.
CREATE TABLE revisions (
    subject VARCHAR(64) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO revisions (subject, revision) VALUES ('people', 0);

-- status: 0 pending, 1 processed, 2 failed, 3 processing.
-- accepted_in: a random number of the call that wrote the row, by which the call knows its own rows.
CREATE TABLE images (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    path VARCHAR(4096) NOT NULL,
    project VARCHAR(255) NULL,
    status SMALLINT NOT NULL DEFAULT 0,
    reason VARCHAR(1024) NULL,
    person_id BIGINT NULL REFERENCES person (id) ON DELETE SET NULL,
    distance DOUBLE NULL,
    width BIGINT NULL,
    height BIGINT NULL,
    duration_ms BIGINT NULL,
    accepted_in BIGINT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE UNIQUE INDEX images_path ON images (path);
CREATE INDEX images_status ON images (status, id);
CREATE INDEX images_project ON images (project, id);
CREATE INDEX images_person ON images (person_id);

CREATE TABLE faces (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    image_id BIGINT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    box_left BIGINT NOT NULL,
    box_top BIGINT NOT NULL,
    box_width BIGINT NOT NULL,
    box_height BIGINT NOT NULL,
    landmarks BLOB NOT NULL,
    descriptor BLOB NOT NULL,
    person_id BIGINT NULL REFERENCES person (id) ON DELETE SET NULL,
    sample VARCHAR(255) NULL,
    distance DOUBLE NULL
);
CREATE INDEX faces_image ON faces (image_id);
CREATE INDEX faces_person ON faces (person_id, image_id);

-- state: 0 ready, 1 done, 2 failed. A lease is a ready task whose available_at lies ahead.
CREATE TABLE tasks (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    image_id BIGINT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    kind VARCHAR(32) NOT NULL,
    state SMALLINT NOT NULL DEFAULT 0,
    available_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    token BLOB NULL,
    claims BIGINT NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    waits BIGINT NOT NULL DEFAULT 0,
    waiting_for VARCHAR(255) NULL,
    reason VARCHAR(1024) NULL,
    model VARCHAR(255) NULL,
    model_version VARCHAR(255) NULL,
    started_at BIGINT NULL,
    ended_at BIGINT NULL
);
CREATE UNIQUE INDEX tasks_image ON tasks (image_id, kind);
CREATE INDEX tasks_due ON tasks (state, available_at, id);

-- Messages that are still to be published; the body is the subject's id.
CREATE TABLE outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    topic VARCHAR(64) NOT NULL,
    subject BIGINT NOT NULL,
    available_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE INDEX outbox_due ON outbox (available_at, id);

CREATE TABLE queue_messages (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    topic VARCHAR(64) NOT NULL,
    body BLOB NOT NULL,
    available_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    attempts BIGINT NOT NULL DEFAULT 0,
    token BLOB NULL
);
CREATE INDEX queue_messages_due ON queue_messages (topic, available_at, id);
