#!/usr/bin/env bash
# Runs once, when the volume is new: a database for each service, owned by a role that can reach no other, one for the
# registry, and a role for `tidings verify` that reads all of the services' and writes nothing.
set -euo pipefail

sql() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres "$@"; }

# Role $1 with password $2, and its database $3.
create() {
    sql --set role="$1" --set password="$2" --set database="$3" <<'END'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
END
}

sql --set password="$VERIFY_PASSWORD" <<'END'
CREATE ROLE verify LOGIN PASSWORD :'password' IN ROLE pg_read_all_data;
ALTER ROLE verify SET default_transaction_read_only = on;
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
END

for service in order inventory payment notification analytics; do
    password="${service^^}_PASSWORD"
    create "$service" "${!password}" "tidings_$service"
    sql --set database="tidings_$service" <<'END'
GRANT CONNECT ON DATABASE :"database" TO verify;
END
done
create registry "$REGISTRY_PASSWORD" registry
