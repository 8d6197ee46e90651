//! knarrctl: texts, tables, exit codes.
