-- Equal key and other values is a correction, and no duplicate any more.
ALTER TABLE sink_counts RENAME COLUMN replaced TO corrected;
UPDATE sink_counts SET duplicate = duplicate - corrected;
