-- Every statement can be run again: MySQL commits each of them by itself, so a migration that was cut off
-- in the middle is simply repeated.
--
-- Times are milliseconds since the Unix epoch. `images.path` is longer than a key may be, so a hash of it
-- is what is unique; the column is generated, so that rows of other programs have it too.

CREATE TABLE IF NOT EXISTS person (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    UNIQUE KEY person_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS person_images (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    image_name VARCHAR(255) NOT NULL,
    person_id BIGINT NOT NULL,
    content_hash BINARY(32) NULL,
    descriptor BLOB NULL,
    model VARCHAR(255) NOT NULL DEFAULT '',
    model_version VARCHAR(255) NOT NULL DEFAULT '',
    uri VARCHAR(4096) NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    UNIQUE KEY person_images_content (person_id, content_hash),
    KEY person_images_name (image_name),
    CONSTRAINT person_images_person FOREIGN KEY (person_id) REFERENCES person (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Counts changes, so that whoever keeps a copy sees by one read whether it is still true.
CREATE TABLE IF NOT EXISTS revisions (
    subject VARCHAR(64) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO revisions (subject, revision) VALUES ('people', 0);

-- status: 0 pending, 1 processed, 2 failed, 3 processing.
-- accepted_in: a random number of the call that wrote the row, by which the call knows its own rows.
CREATE TABLE IF NOT EXISTS images (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    path VARCHAR(4096) NOT NULL,
    path_hash BINARY(32) GENERATED ALWAYS AS (UNHEX(SHA2(path, 256))) STORED,
    project VARCHAR(255) NULL,
    status SMALLINT NOT NULL DEFAULT 0,
    reason VARCHAR(1024) NULL,
    person_id BIGINT NULL,
    distance DOUBLE NULL,
    width BIGINT NULL,
    height BIGINT NULL,
    duration_ms BIGINT NULL,
    accepted_in BIGINT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    updated_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    UNIQUE KEY images_path (path_hash),
    KEY images_status (status, id),
    KEY images_project (project, id),
    CONSTRAINT images_person FOREIGN KEY (person_id) REFERENCES person (id) ON DELETE SET NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS faces (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    image_id BIGINT NOT NULL,
    box_left BIGINT NOT NULL,
    box_top BIGINT NOT NULL,
    box_width BIGINT NOT NULL,
    box_height BIGINT NOT NULL,
    landmarks BLOB NOT NULL,
    descriptor BLOB NOT NULL,
    person_id BIGINT NULL,
    sample VARCHAR(255) NULL,
    distance DOUBLE NULL,
    KEY faces_image (image_id),
    KEY faces_person (person_id, image_id),
    CONSTRAINT faces_image FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE,
    CONSTRAINT faces_person FOREIGN KEY (person_id) REFERENCES person (id) ON DELETE SET NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- state: 0 ready, 1 done, 2 failed. A lease is a ready task whose available_at lies ahead: the key that a
-- claim reads then ends before the leased rows, and it neither passes over them nor locks them.
CREATE TABLE IF NOT EXISTS tasks (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    image_id BIGINT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    state SMALLINT NOT NULL DEFAULT 0,
    available_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    token BINARY(16) NULL,
    claims BIGINT NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    waits BIGINT NOT NULL DEFAULT 0,
    waiting_for VARCHAR(255) NULL,
    reason VARCHAR(1024) NULL,
    model VARCHAR(255) NULL,
    model_version VARCHAR(255) NULL,
    started_at BIGINT NULL,
    ended_at BIGINT NULL,
    UNIQUE KEY tasks_image (image_id, kind),
    KEY tasks_due (state, available_at, id),
    CONSTRAINT tasks_image FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Messages that are still to be published; the body is the subject's id.
CREATE TABLE IF NOT EXISTS outbox (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    topic VARCHAR(64) NOT NULL,
    subject BIGINT NOT NULL,
    available_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    KEY outbox_due (available_at, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
