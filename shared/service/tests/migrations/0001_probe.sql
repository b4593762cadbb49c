-- What the service under test does, visible from outside.
CREATE TABLE confirmed (
    order_id uuid PRIMARY KEY
);

CREATE TABLE applied (
    order_id uuid PRIMARY KEY
);
