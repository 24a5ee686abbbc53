#!/bin/bash
# Slurm on one machine, for trying the profile: writes /etc/slurm/slurm.conf, starts munge, slurmctld and slurmd.
# Debian 12, as root, on a machine that may be thrown away:  apt-get install slurm-wlm munge;  profiles/slurm/one-node.sh
# It also writes profiles/one-node: the profile without GPUs, asking squeue (there is no accounting data base) and often.
set -euo pipefail
cd "$(dirname "$0")/../.."
host=$(hostname -s)
spool=/var/spool/slurm-one-node
mkdir -p /etc/slurm /run/munge /var/log/munge $spool/{state,slurmd}
chown munge: /run/munge /var/log/munge

cat > /etc/slurm/slurm.conf <<CONF
ClusterName=one-node
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
StateSaveLocation=$spool/state
SlurmdSpoolDir=$spool/slurmd
SlurmctldLogFile=$spool/slurmctld.log
SlurmdLogFile=$spool/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc=$spool/jobs.txt
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host CPUs=$(nproc) RealMemory=$(($(free -m | awk '/^Mem:/ {print $2}') * 9 / 10)) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES PriorityTier=1 GraceTime=10 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF

mkdir -p profiles/one-node
sed -e 's/gpu: 1/gpu: 0/' -e 's/mem_mb: 16000/mem_mb: 8000/' profiles/slurm/config.yaml > profiles/one-node/config.yaml
cat >> profiles/one-node/config.yaml <<CONF
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 5
CONF

pgrep -x munged > /dev/null || runuser -u munge -- munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd
for _ in $(seq 30); do sinfo --noheader --states=idle 2> /dev/null | grep -q . && break; sleep 1; done
sinfo
