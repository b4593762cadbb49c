#!/usr/bin/env bash
# Run once, by the PostgreSQL image, on an empty data directory: one database and one role for each service, and one role
# that may read everything, for `tidings verify`. Names and passwords stand in /run/secrets/databases/<service>/.
set -euo pipefail

for folder in /run/secrets/databases/*/; do
    psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set "role=$(cat "$folder/username")" --set "password=$(cat "$folder/password")" \
        --set "database=$(cat "$folder/dbname")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
done

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set "password=$VERIFY_PASSWORD" <<'SQL'
CREATE ROLE verify LOGIN PASSWORD :'password' IN ROLE pg_read_all_data;
SELECT format('GRANT CONNECT ON DATABASE %I TO verify', datname) FROM pg_database WHERE datname LIKE 'tidings\_%' \gexec
SQL
