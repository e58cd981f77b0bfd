package metrics

import (
	"os"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process adds the process_* families that Prometheus's clients agree on, and the
// few of the Go runtime that tell a leak.
func (r *Registry) Process() {
	start := float64(time.Now().UnixMilli()) / 1000
	r.Info("process_release", "Release of this program.", "version", release())
	r.CounterFunc("process_cpu_seconds", "User and system processor time spent, in seconds.", cpuSeconds)
	r.GaugeFunc("process_start_time_seconds", "Start of the process, in seconds since 1970.", func() float64 { return start })
	r.GaugeFunc("process_resident_memory_bytes", "Resident memory.", residentMemory)
	r.GaugeFunc("process_open_fds", "Open file descriptors.", openFiles)
	r.GaugeFunc("go_goroutines", "Goroutines that exist.", runtimeGauge("/sched/goroutines:goroutines"))
	r.GaugeFunc("go_memory_heap_objects_bytes", "Memory of live and unswept objects.", runtimeGauge("/memory/classes/heap/objects:bytes"))
}

// release is the main module's version, as far as the linker was told.
func release() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// residentMemory reads the second field of proc_pid_statm(5), in pages.
func residentMemory() float64 {
	data, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(data))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize())
}

func openFiles() float64 {
	entries, _ := os.ReadDir("/proc/self/fd")
	return float64(len(entries))
}

func runtimeGauge(name string) func() float64 {
	return func() float64 {
		sample := []rtmetrics.Sample{{Name: name}}
		rtmetrics.Read(sample)
		if sample[0].Value.Kind() != rtmetrics.KindUint64 {
			return 0
		}
		return float64(sample[0].Value.Uint64())
	}
}
