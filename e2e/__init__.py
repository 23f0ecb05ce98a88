"""End-to-end harness: a real API server, real kernels' network namespaces as nodes and pods, real packets.

The way through the modules: `instance` names things and remembers what to take away again, `netns` and `processes`
are the two primitives, `binaries` and `controlplane` bring up the API server, `topology` the nodes and pods,
`probe` measures who reaches whom, `table` compares that with what a case states, `components` runs the controller
and the node agents as their manifests say.
"""
