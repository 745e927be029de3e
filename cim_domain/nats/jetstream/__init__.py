"""JetStream: streams, consumers and buckets, read and written; dead letters."""
