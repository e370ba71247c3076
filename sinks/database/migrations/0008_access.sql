-- Who may use the feeds (tokens), and who decided what (audit).

-- Decisions of people and crews, what was forgotten, tokens made and revoked. Each row's hash
-- covers the row and the hash before it, so that none can be changed, removed or put in between
-- without breaking what follows. There is no retention: a chain without its beginning proves less.
CREATE TABLE audit_log (
    seq         bigint PRIMARY KEY,        -- from 1, without gaps
    at          timestamptz NOT NULL,      -- of the deed, by the clock it was taken in with
    recorded_at timestamptz NOT NULL,      -- by the database's clock
    actor       text NOT NULL,
    action      text NOT NULL,             -- acknowledge, override, forget, token create, …
    subject     text NOT NULL,             -- alert/<id>, allocation/<id>, case/<id>, token/<id>, …
    area        text NOT NULL,             -- '' where it is of no area
    detail      jsonb NOT NULL,
    previous    bytea NOT NULL,            -- hash of the row before; 32 zero bytes at the start
    hash        bytea NOT NULL             -- access.audit_hash of all the others
);
CREATE INDEX audit_log_by_time ON audit_log (at);
CREATE INDEX audit_log_by_subject ON audit_log (subject);

-- Length, colon, text: two fields can never be read as one, or otherwise divided.
CREATE FUNCTION access.netstring(value text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT convert_to(octet_length(convert_to(value, 'UTF8')) || ':' || value || ',', 'UTF8') $$;

-- `civicstream audit verify` computes the same in sinks/audit.py.
CREATE FUNCTION access.audit_hash(
    previous bytea, seq bigint, at timestamptz, recorded_at timestamptz,
    actor text, action text, subject text, area text, detail jsonb) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(
        previous
        || access.netstring(seq::text)
        || access.netstring((extract(epoch FROM at) * 1000000)::bigint::text)
        || access.netstring((extract(epoch FROM recorded_at) * 1000000)::bigint::text)
        || access.netstring(actor)
        || access.netstring(action)
        || access.netstring(subject)
        || access.netstring(area)
        || access.netstring(detail::text))
$$;

-- Returns the new row's number. The lock makes two writers at once follow one another; readers
-- are not held up.
CREATE FUNCTION access.append_audit(
    at timestamptz, actor text, action text, subject text, area text, detail jsonb)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    number bigint := 1;
    before bytea := decode(repeat('00', 32), 'hex');
    last audit_log;
    stamp timestamptz;
BEGIN
    LOCK TABLE audit_log IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO last FROM audit_log l ORDER BY l.seq DESC LIMIT 1;
    IF FOUND THEN
        number := last.seq + 1;
        before := last.hash;
    END IF;
    stamp := clock_timestamp();
    INSERT INTO audit_log VALUES (
        number, append_audit.at, stamp, append_audit.actor, append_audit.action,
        append_audit.subject, append_audit.area, append_audit.detail, before,
        access.audit_hash(
            before, number, append_audit.at, stamp, append_audit.actor, append_audit.action,
            append_audit.subject, append_audit.area, append_audit.detail));
    RETURN number;
END
$$;

-- By triggers, so that whoever may write a decision cannot leave the audit out, nor write there
-- anything else. At the commit: the lock on the chain is held for no longer than that.

CREATE FUNCTION access.audit_action() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM access.append_audit(
        NEW.at, NEW."by", NEW.action, NEW.subject, NEW.area,
        jsonb_build_object('id', NEW.id, 'note', NEW.note, 'value', NEW.value));
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER audit_action AFTER INSERT ON actions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION access.audit_action();

-- The person is a hash of a keyed hash, which leads nowhere once the reports are nobody's.
CREATE FUNCTION access.audit_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM access.append_audit(
        NEW.at, NEW."by", 'forget', 'person/' || encode(NEW.person, 'hex'), '',
        jsonb_build_object(
            'until', NEW.until, 'sealed_erased', NEW.sealed_erased,
            'reports_detached', NEW.reports_detached, 'letters_emptied', NEW.letters_emptied));
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER audit_forgotten AFTER INSERT ON private.forgotten
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION access.audit_forgotten();

-- Tokens. The secret itself is nowhere; its hash is in a schema into which nobody but the owner
-- looks. `init` has made the schema.
CREATE TABLE access.api_tokens (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    hash       bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),  -- SHA-256 of the token
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'operate', 'admin']),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    last_used  timestamptz               -- cut to the hour: enough to find unused ones
);

CREATE FUNCTION access.create_token(
    id text, name text, hash bytea, scopes text[], by_whom text, expires_at timestamptz)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO access.api_tokens (id, name, hash, scopes, created_by, expires_at)
    VALUES (create_token.id, create_token.name, create_token.hash, create_token.scopes,
            create_token.by_whom, create_token.expires_at);
    PERFORM access.append_audit(
        now(), by_whom, 'token create', 'token/' || create_token.id, '',
        jsonb_build_object('name', create_token.name, 'scopes', to_jsonb(create_token.scopes),
                           'expires_at', create_token.expires_at));
END
$$;

-- Returns the name of the token, null for one that is unknown or revoked already.
CREATE FUNCTION access.revoke_token(id text, by_whom text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    whose text;
BEGIN
    UPDATE access.api_tokens t SET revoked_at = now(), revoked_by = by_whom
        WHERE t.id = revoke_token.id AND t.revoked_at IS NULL RETURNING t.name INTO whose;
    IF FOUND THEN
        PERFORM access.append_audit(
            now(), by_whom, 'token revoke', 'token/' || revoke_token.id, '',
            jsonb_build_object('name', whose));
    END IF;
    RETURN whose;
END
$$;

-- Whose token has this hash, if it is still good. Who asks must know the token: no hash is ever
-- told. Where it may write it notes the hour.
CREATE FUNCTION access.verify_token(digest bytea)
RETURNS TABLE (id text, name text, scopes text[], expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    IF current_setting('transaction_read_only') = 'off' THEN
        UPDATE access.api_tokens t SET last_used = date_trunc('hour', now())
            WHERE t.hash = digest AND t.revoked_at IS NULL
            AND t.last_used IS DISTINCT FROM date_trunc('hour', now());
    END IF;
    RETURN QUERY
        SELECT t.id, t.name, t.scopes, t.expires_at FROM access.api_tokens t
        WHERE t.hash = digest AND t.revoked_at IS NULL AND t.expires_at > now();
END
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA access FROM PUBLIC;
