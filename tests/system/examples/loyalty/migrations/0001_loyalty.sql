-- The points that each confirmed order earned.
CREATE TABLE points (
    order_id  uuid PRIMARY KEY,
    points    integer NOT NULL CHECK (points > 0),
    earned_at timestamptz NOT NULL
);
