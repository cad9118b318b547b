-- Pictures and films that are prepared for somebody: batches, several tasks an image, outputs, notifications.
--
-- As in 0001, every statement can be run again. MySQL 8 cannot add a column only where it is missing, so a
-- statement that does is prepared where the first of the columns is not there.

-- Who is served in turn. `name`: `project:P`, `mail:ADDRESS` or `hook:HOST`. Who says nothing has no row.
CREATE TABLE IF NOT EXISTS senders (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    UNIQUE KEY senders_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The turn that a sender's next task of a kind gets.
CREATE TABLE IF NOT EXISTS turns (
    sender_id BIGINT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    next_turn BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (sender_id, kind),
    CONSTRAINT turns_sender FOREIGN KEY (sender_id) REFERENCES senders (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- sealed_at: no image is added any more. joined_at: every task of it has ended. round: grows when a redeemed batch is to be
-- told of again.
CREATE TABLE IF NOT EXISTS batches (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sender_id BIGINT NULL,
    email VARCHAR(320) NULL,
    webhook VARCHAR(2048) NULL,
    round SMALLINT NOT NULL DEFAULT 0,
    sealed_at BIGINT NULL,
    joined_at BIGINT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    KEY batches_open (joined_at, sealed_at, id),
    KEY batches_sender (sender_id),
    CONSTRAINT batches_sender FOREIGN KEY (sender_id) REFERENCES senders (id) ON DELETE SET NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- name: what the user called the file, for people. content_type: by content, once it was looked at.
SET @add = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()
               AND table_name = 'images' AND column_name = 'batch_id') = 0,
    'ALTER TABLE images ADD COLUMN batch_id BIGINT NULL, ADD COLUMN name VARCHAR(255) NULL,
     ADD COLUMN content_type VARCHAR(64) NULL, ADD COLUMN bytes BIGINT NULL, ADD KEY images_batch (batch_id, id),
     ADD CONSTRAINT images_batch FOREIGN KEY (batch_id) REFERENCES batches (id) ON DELETE CASCADE', 'DO 0');
PREPARE add_columns FROM @add; EXECUTE add_columns; DEALLOCATE PREPARE add_columns;

-- lane: 0 people wait for it, 1 filled in behind, 2 begun already; of the first two those of the smallest turn come first.
-- params: JSON. fault: why it failed, as a class (see `Fault`), for `safelight redeem`.
SET @add = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()
               AND table_name = 'tasks' AND column_name = 'batch_id') = 0,
    'ALTER TABLE tasks ADD COLUMN batch_id BIGINT NULL, ADD COLUMN sender_id BIGINT NULL,
     ADD COLUMN lane SMALLINT NOT NULL DEFAULT 0, ADD COLUMN turn BIGINT NOT NULL DEFAULT 0,
     ADD COLUMN params VARCHAR(1024) NULL, ADD COLUMN fault VARCHAR(16) NULL,
     ADD KEY tasks_batch (batch_id, state), ADD KEY tasks_lane (kind, state, lane, available_at, id),
     ADD KEY tasks_turn (kind, state, lane, turn, id)', 'DO 0');
PREPARE add_columns FROM @add; EXECUTE add_columns; DEALLOCATE PREPARE add_columns;

CREATE TABLE IF NOT EXISTS outputs (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    image_id BIGINT NOT NULL,
    task_id BIGINT NULL,
    role VARCHAR(32) NOT NULL,
    uri VARCHAR(4096) NOT NULL,
    content_type VARCHAR(64) NOT NULL,
    width BIGINT NULL,
    height BIGINT NULL,
    bytes BIGINT NOT NULL,
    content_hash BINARY(32) NOT NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    UNIQUE KEY outputs_image (image_id, role),
    CONSTRAINT outputs_image FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Objects that are being uploaded and that no image names yet: what is found here long after is removed from the store.
CREATE TABLE IF NOT EXISTS uploads (
    object_key VARCHAR(512) NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    KEY uploads_age (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What senders call their uploads, so that one that is sent again is not recorded again. object_key: who holds the key while
-- held_until lies ahead. image_id: what was recorded under it.
CREATE TABLE IF NOT EXISTS upload_keys (
    idempotency_key VARCHAR(255) NOT NULL PRIMARY KEY,
    object_key VARCHAR(512) NOT NULL,
    held_until BIGINT NOT NULL,
    image_id BIGINT NULL,
    KEY upload_keys_object (object_key),
    KEY upload_keys_image (image_id),
    CONSTRAINT upload_keys_image FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- state: 0 ready (a lease is an available_at ahead, as for tasks), 1 sent, 2 failed. message_key: what Message-ID and
-- webhook-id are made of, the same at every try. sent_with: the notification whose mail told of this one, too.
CREATE TABLE IF NOT EXISTS notifications (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    batch_id BIGINT NOT NULL,
    round SMALLINT NOT NULL DEFAULT 0,
    channel VARCHAR(16) NOT NULL,
    recipient VARCHAR(2048) NOT NULL,
    recipient_hash BINARY(32) NOT NULL,
    message_key BINARY(16) NOT NULL,
    state SMALLINT NOT NULL DEFAULT 0,
    available_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    token BINARY(16) NULL,
    claims BIGINT NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    sent_with BIGINT NULL,
    reason VARCHAR(1024) NULL,
    created_at BIGINT NOT NULL DEFAULT (CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)),
    ended_at BIGINT NULL,
    UNIQUE KEY notifications_batch (batch_id, channel, round),
    KEY notifications_due (channel, state, available_at, id),
    KEY notifications_recipient (recipient_hash, state, ended_at),
    CONSTRAINT notifications_batch FOREIGN KEY (batch_id) REFERENCES batches (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Addresses that said 410, or that an operator closed.
CREATE TABLE IF NOT EXISTS webhook_endpoints (
    url_hash BINARY(32) NOT NULL PRIMARY KEY,
    url VARCHAR(2048) NOT NULL,
    disabled_at BIGINT NULL,
    reason VARCHAR(1024) NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
