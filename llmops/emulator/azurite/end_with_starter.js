// Required before Azurite: its standard input is a pipe that ends when whoever started it is gone, however that ended.
// Azurite writes down what it holds when it is asked to end.
const end = () => process.kill(process.pid, "SIGTERM");
process.stdin.on("end", end).on("error", end).resume();
