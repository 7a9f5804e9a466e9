# shellcheck shell=sh disable=SC2034
# The installation's web containers, for the script that follows; its first word is their
# project. Not those of `compose run`, which serve nobody.
project=$1
mine="--filter label=com.docker.compose.project=$project
  --filter label=com.docker.compose.service=web --filter label=com.docker.compose.oneoff=False"
