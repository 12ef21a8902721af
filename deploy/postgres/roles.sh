#!/bin/sh
# Make what is missing of each service's role and schema; runs before the migrations, at every `docker-compose up`.
#
# A service is known by its secret <name>_database_url, and gets the password in there. Its role owns its schema, may
# connect, and may do nothing else: neither create in `public` nor enter another's schema.
set -eu

fail() {
    echo "roles: $1" >&2
    exit 1
}

PGPASSWORD=$(cat /run/secrets/postgres_password) || fail "make the secrets first: ./undercroft secrets"
export PGPASSWORD PGCONNECT_TIMEOUT=10

for file in /run/secrets/*_database_url; do
    ROLE=$(basename "$file" _database_url)
    credentials=$(sed 's|^[a-z+]*://||; s|@.*||' "$file")
    ROLE_PASSWORD=${credentials#*:}
    [ "${credentials%%:*}" = "$ROLE" ] || fail "$(basename "$file") must name the role $ROLE"
    export ROLE ROLE_PASSWORD
    psql --no-psqlrc --quiet --tuples-only --output /dev/null -v ON_ERROR_STOP=1 <<'SQL' || fail "cannot set up $ROLE"
\getenv role ROLE
\getenv password ROLE_PASSWORD
BEGIN;
SET LOCAL log_statement = 'none';
SELECT pg_advisory_xact_lock(7236842193771);
-- By default everybody may connect, make temporary tables and look into `public`.
REVOKE ALL ON DATABASE :"DBNAME", postgres FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SELECT format('CREATE ROLE %I', :'role') WHERE to_regrole(quote_ident(:'role')) IS NULL \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
SELECT format('CREATE SCHEMA %I AUTHORIZATION %1$I', :'role') WHERE to_regnamespace(quote_ident(:'role')) IS NULL \gexec
COMMIT;
SQL
    echo "roles: $ROLE"
done
