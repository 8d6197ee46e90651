//! The rules of config.json that need no host.
