"""Sides of a comparison that run in turns of a fraction of a second, so that whatever else the machine does meets all of them alike."""
import os
import pathlib
import random
import signal
import statistics
import subprocess
import time

SLICE = 0.05  # seconds


def cpu_ns(pid):
    """CPU time of all threads of a process, to the nanosecond: other figures have the grain of the kernel's ticks."""
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


def pin(pid, cpu):
    """All threads of a process to one CPU."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def two_cpus():
    """One for servers and one for clients; the same one where there is no second."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]


def run_in_turns(commands, seconds, cpu):
    """Runs COMMANDS, {label: argv}, each of which must end by itself after SECONDS, on CPU; at any time all but one are stopped, and
    the one that runs is another after each slice. Returns their outputs by label."""
    running = {label: subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       preexec_fn=lambda: os.sched_setaffinity(0, {cpu})) for label, argv in commands.items()}
    try:
        for process in running.values():
            process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for label in random.sample(sorted(running), len(running)):
                running[label].send_signal(signal.SIGCONT)
                time.sleep(SLICE)
                running[label].send_signal(signal.SIGSTOP)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGCONT)
        said = {label: process.communicate(timeout=60) for label, process in running.items()}
    for label, process in running.items():
        assert process.returncode == 0, said[label][1]
    return {label: out for label, (out, _) in said.items()}


def quartiles(values):
    """The lower quartile, the median and the upper one."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, statistics.median(values), high


def judge(name, rounds, plain, ours, target):
    """Prints what ROUNDS, each {label: ns of CPU per request}, say of the sides PLAIN and OURS, of each of which there are two (LABEL and
    LABEL2). False: the target is missed."""
    low, ratio, high = quartiles([(one[plain] + one[plain + "2"]) / (one[ours] + one[ours + "2"]) for one in rounds])
    noise = quartiles([one[plain] / one[plain + "2"] for one in rounds])
    cost = {side: quartiles([(one[side] + one[side + "2"]) / 2 for one in rounds])[1] for side in (plain, ours)}
    print(f"{name}: ratio {ratio:.3f} (quartiles {low:.3f} and {high:.3f}; target {target}){'  MISSED' if ratio < target else ''}; "
          f"CPU per request, medians: {plain} {cost[plain]:.2f} us, {ours} {cost[ours]:.2f} us; {plain} beside {plain} {noise[1]:.3f} "
          f"({noise[0]:.3f} and {noise[2]:.3f})", flush=True)
    return ratio >= target
