"""Every benchmark of the program, one after the other: make bench."""

from benchmarks import bench_evaluation, bench_preprocessing

if __name__ == "__main__":
    bench_evaluation.main()
    bench_preprocessing.main()
