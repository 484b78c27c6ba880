# shellcheck shell=bash
# For the scripts beside this file: where things are, and whether the cluster runs. Source it in the repository's directory.

cluster=$PWD/.cache/cluster
kube=$(hack/cluster/kube-build --print)
# shellcheck disable=SC2034 # for those who source this
labcluster=("$cluster/bin/labcluster" --root "$PWD" --kube "$kube" --run "$cluster/run")
export KUBECONFIG=$cluster/kubeconfig
export PATH=$kube:$PATH

# running: the process that runs the cluster is there, and is what it was. .cache may be a link.
running() {
  local pid
  pid=$(cat "$cluster/pid" 2> /dev/null) && [[ $(readlink "/proc/$pid/exe" 2> /dev/null) == "$(realpath "$cluster/bin")/labcluster"* ]]
}

usage() {
  cat << USAGE

  export KUBECONFIG=$KUBECONFIG PATH=$kube:\$PATH
  kubectl get nodes,pods -A -o wide
  hack/cluster/exec node1 multipath -ll     # a program in a machine: target, node1, node2
  hack/cluster/exec --link node1 san0 down  # pull a plug; up puts it in again
  make cluster-down                         # the end of it
USAGE
}
