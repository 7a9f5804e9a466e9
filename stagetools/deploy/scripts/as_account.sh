# shellcheck shell=sh
# For the script that follows: what the account may write is reached as the account alone.
user=$1
umask 027
cd /
as() { setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"; }
