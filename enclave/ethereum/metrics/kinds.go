package metrics

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Counter is a family of numbers that only rise.
type Counter struct{ family *family }

// Counter adds a family of counters. Its name is given without _total.
func (r *Registry) Counter(name, help string, labels ...string) Counter {
	return Counter{r.add(&family{name: name, help: help, kind: counter, labels: labels,
		make: func() series { return new(count) }})}
}

// Add adds n to the counter of label values, in the order of the labels.
func (c Counter) Add(n uint64, values ...string) { c.family.with(values...).(*count).n.Add(n) }

type count struct{ n atomic.Uint64 }

func (c *count) write(w *writer, name string, labels []label) {
	w.sample(name+"_total", labels, float64(c.n.Load()))
}

// CounterFunc adds a counter that is asked for its value when it is written.
func (r *Registry) CounterFunc(name, help string, ask func() float64) {
	r.add(&family{name: name, help: help, kind: counter, make: func() series { return asked{ask, "_total"} }})
}

// GaugeFunc adds a gauge that is asked for its value when it is written.
func (r *Registry) GaugeFunc(name, help string, ask func() float64) {
	r.add(&family{name: name, help: help, kind: gauge, make: func() series { return asked{ask, ""} }})
}

type asked struct {
	ask    func() float64
	suffix string
}

func (a asked) write(w *writer, name string, labels []label) {
	w.sample(name+a.suffix, labels, a.ask())
}

// Info adds a gauge that is always 1 and says something with one label.
func (r *Registry) Info(name, help, label, value string) {
	one := func() float64 { return 1 }
	r.add(&family{name: name, help: help, kind: gauge, labels: []string{label}, make: func() series { return asked{one, ""} }}).with(value)
}

// Histogram is a family of counts of durations by how long they were, in seconds.
type Histogram struct{ family *family }

// Histogram adds a family of histograms with upper bounds of buckets, ascending.
func (r *Registry) Histogram(name, help string, bounds []time.Duration, labels ...string) Histogram {
	bounds = slices.Clone(bounds)
	return Histogram{r.add(&family{name: name, help: help, kind: histogram, labels: labels,
		make: func() series { return &buckets{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)} }})}
}

// Observe counts a duration in the histogram of label values.
func (h Histogram) Observe(d time.Duration, values ...string) {
	h.family.with(values...).(*buckets).observe(d)
}

type buckets struct {
	bounds []time.Duration
	counts []atomic.Uint64 // one more than bounds, for what is above
	sum    atomic.Int64    // nanoseconds
}

func (b *buckets) observe(d time.Duration) {
	i, _ := slices.BinarySearch(b.bounds, d)
	b.counts[i].Add(1)
	b.sum.Add(int64(d))
}

// write takes the count from the buckets, so that both always agree.
func (b *buckets) write(w *writer, name string, labels []label) {
	total := uint64(0)
	for i := range b.counts {
		total += b.counts[i].Load()
		bound := "+Inf"
		if i < len(b.bounds) {
			bound = format(b.bounds[i].Seconds())
		}
		w.sample(name+"_bucket", append(slices.Clone(labels), label{"le", bound}), float64(total))
	}
	w.sample(name+"_sum", labels, time.Duration(b.sum.Load()).Seconds())
	w.sample(name+"_count", labels, float64(total))
}

// Summary is a family of quantiles of the latest durations, in seconds.
type Summary struct{ family *family }

// window is how many durations a summary's quantiles are of.
const window = 1024

// quantiles are those that Web3Signer writes.
var quantiles = []float64{0.2, 0.5, 0.8, 0.95, 0.99, 1}

// Summary adds a family of summaries.
func (r *Registry) Summary(name, help string, labels ...string) Summary {
	return Summary{r.add(&family{name: name, help: help, kind: summary, labels: labels,
		make: func() series { return new(recent) }})}
}

// Observe counts a duration in the summary of label values.
func (s Summary) Observe(d time.Duration, values ...string) {
	s.family.with(values...).(*recent).observe(d)
}

type recent struct {
	mu     sync.Mutex
	latest [window]time.Duration
	count  uint64
	sum    time.Duration
}

func (r *recent) observe(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest[r.count%window] = d
	r.count++
	r.sum += d
}

func (r *recent) write(w *writer, name string, labels []label) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sorted := slices.Clone(r.latest[:min(r.count, window)])
	slices.Sort(sorted)
	for _, q := range quantiles {
		if len(sorted) > 0 {
			value := sorted[int(q*float64(len(sorted)-1))]
			w.sample(name, append(slices.Clone(labels), label{"quantile", format(q)}), value.Seconds())
		}
	}
	w.sample(name+"_sum", labels, r.sum.Seconds())
	w.sample(name+"_count", labels, float64(r.count))
}
