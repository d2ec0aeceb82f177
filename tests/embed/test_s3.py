"""An S3 server on this machine (moto's, with credentials that it checks): photos from there, shards
to there, and what is said where it refuses or is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.embedding_runs import run, run_json, same, vectors

pytestmark = pytest.mark.slow

# Makes a user who may do all, fills a bucket, and says how to get in. After so many requests, each
# has to be signed by somebody that the server knows (moto's INITIAL_NO_AUTH_ACTION_COUNT).
_OTHER_REQUESTS = 5
SERVER = """
import json, sys
from pathlib import Path
import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%s" % server.get_host_and_port()
keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
iam = boto3.client("iam", endpoint_url=url, **keys)
iam.create_user(UserName="user")
allow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
policy = iam.create_policy(PolicyName="all", PolicyDocument=json.dumps(allow))
iam.attach_user_policy(UserName="user", PolicyArn=policy["Policy"]["Arn"])
made = iam.create_access_key(UserName="user")["AccessKey"]
s3 = boto3.client("s3", endpoint_url=url, **keys)
s3.create_bucket(Bucket="photos")
for path in Path(sys.argv[1]).iterdir():
    s3.put_object(Bucket="photos", Key=f"2025/{path.name}", Body=path.read_bytes())
print(json.dumps([url, made["AccessKeyId"], made["SecretAccessKey"]]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def s3(photos):
    """Variables by which its photos are reached, s3://photos/2025."""
    for module in ("moto", "s3fs", "boto3"):
        pytest.importorskip(module)
    free = _OTHER_REQUESTS + len(list(photos.iterdir()))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(photos)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(free)},
    ) as server:
        url, key, secret = json.loads(server.stdout.readline())
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        server.stdin.close()


def arguments(bundle, out, source="s3://photos/2025"):
    return (source, "--bundle", bundle.directory, "--out", out, "--workers", 2)


def test_photos_of_a_bucket_become_shards_of_a_bucket_and_a_phones_index(
    tmp_path, bundle, photos, shards, s3
):
    document = run_json("embed", *arguments(bundle, "s3://photos/shards"), **s3)
    assert (document["photos"], document["skipped"]) == (8, [])
    again = run_json("embed", *arguments(bundle, "s3://photos/shards"), **s3)
    assert again["embedded"] == 0
    index = ("--bundle", bundle.directory, "--index", tmp_path / "index")
    made = run_json("index", "--from", "s3://photos/shards", *index, **s3)
    assert made["photos"] == 8
    # The same vectors as of the files, under other names.
    run_json("embed", *arguments(bundle, tmp_path / "here"), **s3)
    found = {key.rpartition("/")[2]: v for key, v in vectors(tmp_path / "here").items()}
    expected = {key.rpartition("/")[2]: v for key, v in vectors(shards).items()}
    assert same(found, expected)


def test_credentials_that_are_refused_are_one_error(tmp_path, bundle, photos, s3):
    wrong = {**s3, "AWS_SECRET_ACCESS_KEY": "wrong"}
    message = run("embed", *arguments(bundle, tmp_path / "out"), code=1, **wrong).stderr
    assert "s3://photos/2025 denied access" in message and "Check the credentials" in message
    message = run("embed", *arguments(bundle, "s3://photos/other", photos), code=1, **wrong).stderr
    assert "s3://photos/other denied access" in message


def test_a_store_that_is_away_is_one_error(tmp_path, bundle, photos, s3):
    away = {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for source, out in (("s3://photos/2025", tmp_path / "out"), (photos, "s3://photos/other")):
        message = run("embed", *arguments(bundle, out, source), code=1, **away).stderr
        assert "cannot be reached" in message and "what is done is kept" in message


def test_a_bucket_that_is_not_there_is_one_error(bundle, tmp_path, s3):
    options = ("--bundle", bundle.directory, "--out", tmp_path / "out")
    assert "nothing at s3://none" in run("embed", "s3://none/2025", *options, code=1, **s3).stderr
