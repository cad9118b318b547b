-- The same model as for MySQL, where the comments are.

CREATE TABLE senders (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX senders_name ON senders (name);

CREATE TABLE turns (
    sender_id BIGINT NOT NULL REFERENCES senders (id) ON DELETE CASCADE,
    kind VARCHAR(32) NOT NULL,
    next_turn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (sender_id, kind)
);

CREATE TABLE batches (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    sender_id BIGINT NULL REFERENCES senders (id) ON DELETE SET NULL,
    email VARCHAR(320) NULL,
    webhook VARCHAR(2048) NULL,
    round SMALLINT NOT NULL DEFAULT 0,
    sealed_at BIGINT NULL,
    joined_at BIGINT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE INDEX batches_open ON batches (joined_at, sealed_at, id);
CREATE INDEX batches_sender ON batches (sender_id);

ALTER TABLE images ADD COLUMN batch_id BIGINT NULL REFERENCES batches (id) ON DELETE CASCADE;
ALTER TABLE images ADD COLUMN name VARCHAR(255) NULL;
ALTER TABLE images ADD COLUMN content_type VARCHAR(64) NULL;
ALTER TABLE images ADD COLUMN bytes BIGINT NULL;
CREATE INDEX images_batch ON images (batch_id, id);

ALTER TABLE tasks ADD COLUMN batch_id BIGINT NULL;
ALTER TABLE tasks ADD COLUMN sender_id BIGINT NULL;
ALTER TABLE tasks ADD COLUMN lane SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN params VARCHAR(1024) NULL;
ALTER TABLE tasks ADD COLUMN fault VARCHAR(16) NULL;
CREATE INDEX tasks_batch ON tasks (batch_id, state);
CREATE INDEX tasks_lane ON tasks (kind, state, lane, available_at, id);
CREATE INDEX tasks_turn ON tasks (kind, state, lane, turn, id);

CREATE TABLE outputs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    image_id BIGINT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    task_id BIGINT NULL,
    role VARCHAR(32) NOT NULL,
    uri VARCHAR(4096) NOT NULL,
    content_type VARCHAR(64) NOT NULL,
    width BIGINT NULL,
    height BIGINT NULL,
    bytes BIGINT NOT NULL,
    content_hash BLOB NOT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE UNIQUE INDEX outputs_image ON outputs (image_id, role);

CREATE TABLE uploads (
    object_key VARCHAR(512) NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE INDEX uploads_age ON uploads (created_at);

CREATE TABLE upload_keys (
    idempotency_key VARCHAR(255) NOT NULL PRIMARY KEY,
    object_key VARCHAR(512) NOT NULL,
    held_until BIGINT NOT NULL,
    image_id BIGINT NULL REFERENCES images (id) ON DELETE CASCADE
);
CREATE INDEX upload_keys_object ON upload_keys (object_key);
CREATE INDEX upload_keys_image ON upload_keys (image_id);

CREATE TABLE notifications (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    batch_id BIGINT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    round SMALLINT NOT NULL DEFAULT 0,
    channel VARCHAR(16) NOT NULL,
    recipient VARCHAR(2048) NOT NULL,
    recipient_hash BLOB NOT NULL,
    message_key BLOB NOT NULL,
    state SMALLINT NOT NULL DEFAULT 0,
    available_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    token BLOB NULL,
    claims BIGINT NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    sent_with BIGINT NULL,
    reason VARCHAR(1024) NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    ended_at BIGINT NULL
);
CREATE UNIQUE INDEX notifications_batch ON notifications (batch_id, channel, round);
CREATE INDEX notifications_due ON notifications (channel, state, available_at, id);
CREATE INDEX notifications_recipient ON notifications (recipient_hash, state, ended_at);

CREATE TABLE webhook_endpoints (
    url_hash BLOB NOT NULL PRIMARY KEY,
    url VARCHAR(2048) NOT NULL,
    disabled_at BIGINT NULL,
    reason VARCHAR(1024) NULL
);
