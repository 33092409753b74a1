"""Scoring and explaining of whole cohorts, in worker processes of this machine or on a Ray cluster, resumable by shard."""
