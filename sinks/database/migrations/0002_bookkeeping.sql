-- What the sink has consumed, written in the transaction that writes the rows.

CREATE TABLE sink_offsets (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    topic_id    uuid NOT NULL,        -- another id: the topic was made anew, offsets start at 0
    next_offset bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- Frames are numbered per gateway, start of the gateway, topic and partition, so a gap is proof
-- of a loss and a repeat is proof of a second delivery.
CREATE TABLE frames_seen (
    gateway    text NOT NULL,
    epoch      bigint NOT NULL,       -- start of the gateway [ms since 1970]
    topic      text NOT NULL,
    partition  integer NOT NULL,
    next_seq   bigint NOT NULL,
    frames     bigint NOT NULL,
    readings   bigint NOT NULL,       -- of the frames counted once
    gaps       bigint NOT NULL,       -- frames that never came
    repeats    bigint NOT NULL,       -- frames that came again
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway, epoch, topic, partition)
);

-- received = accepted + rejected + duplicate, per sink and kind, for ever.
CREATE TABLE sink_counts (
    sink      text NOT NULL,
    kind      text NOT NULL,
    received  bigint NOT NULL,
    accepted  bigint NOT NULL,        -- new rows
    rejected  bigint NOT NULL,        -- became dead letters
    duplicate bigint NOT NULL,        -- same sensor and time as another reading
    replaced  bigint NOT NULL,        -- of the duplicates: came later and changed the row's values
    PRIMARY KEY (sink, kind)
);
