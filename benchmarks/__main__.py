"""Every benchmark of the program, one after the other: make bench."""

from benchmarks import bench_evaluation

if __name__ == "__main__":
    bench_evaluation.main()
