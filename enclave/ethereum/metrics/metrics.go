// Package metrics counts what a server does and writes it for Prometheus, in the
// text format 0.0.4 or as OpenMetrics 1.0.0, whichever a scraper accepts.
//
// It is small because it runs inside the enclave, where every dependency is
// measured and read. It knows counters, gauges that are asked when they are
// written, histograms, and summaries over a recent window. A family's label values
// may come from requests, so how many series it has is bounded: those beyond the
// bound are counted together, as "other".
package metrics

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxSeries bounds the series of one family.
const maxSeries = 2048

// other stands for label values beyond the bound.
const other = "other"

// Registry is a set of metric families. The zero value is empty and ready.
type Registry struct {
	mu       sync.Mutex
	families []*family
}

type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
	summary   kind = "summary"
)

// family is all series of one name. Its name has no _total.
type family struct {
	name, help string
	kind       kind
	labels     []string
	make       func() series

	mu     sync.Mutex
	series map[string]series
	values map[string][]string // the label values of a series
}

// series is one set of label values.
type series interface {
	write(w *writer, name string, labels []label)
}

type label struct{ name, value string }

func (r *Registry) add(f *family) *family {
	f.series, f.values = map[string]series{}, map[string][]string{}
	if len(f.labels) == 0 {
		f.with()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.families = append(r.families, f)
	return f
}

// with returns the series of label values, which it makes on first use. Their
// number must be the labels'.
func (f *family) with(values ...string) series {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.Join(values, "\xff")
	if s, ok := f.series[key]; ok {
		return s
	}
	if len(f.series) >= maxSeries {
		values = slices.Repeat([]string{other}, len(f.labels))
		key = strings.Join(values, "\xff")
		if s, ok := f.series[key]; ok {
			return s
		}
	}
	s := f.make()
	f.series[key], f.values[key] = s, slices.Clone(values)
	return s
}

// Write writes every family, in the order of their making; OpenMetrics if open.
func (r *Registry) Write(out io.Writer, open bool) error {
	r.mu.Lock()
	families := slices.Clone(r.families)
	r.mu.Unlock()
	w := &writer{Writer: bufio.NewWriter(out), open: open}
	for _, f := range families {
		f.write(w)
	}
	if open {
		w.WriteString("# EOF\n")
	}
	return w.Flush()
}

func (f *family) write(w *writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.head(f)
	keys := make([]string, 0, len(f.series))
	for key := range f.series {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		labels := make([]label, len(f.labels))
		for i, name := range f.labels {
			labels[i] = label{name, f.values[key][i]}
		}
		f.series[key].write(w, f.name, labels)
	}
}

// writer writes lines. Its errors are kept by the bufio.Writer until Flush.
type writer struct {
	*bufio.Writer
	open bool
}

// head describes a family. Only the older format names counters with their suffix.
func (w *writer) head(f *family) {
	name := f.name
	if f.kind == counter && !w.open {
		name += "_total"
	}
	w.WriteString("# HELP " + name + " " + escape(f.help, w.open) + "\n# TYPE " + name + " " + string(f.kind) + "\n")
}

// sample writes one line.
func (w *writer) sample(name string, labels []label, value float64) {
	w.WriteString(name)
	for i, l := range labels {
		w.WriteByte("{,"[min(i, 1)])
		w.WriteString(l.name + `="` + escape(l.value, true) + `"`)
	}
	if len(labels) > 0 {
		w.WriteByte('}')
	}
	w.WriteString(" " + format(value) + "\n")
}

func format(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsNaN(v):
		return "NaN"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func escape(s string, quotes bool) string {
	if quotes {
		return valueEscapes.Replace(s)
	}
	return helpEscapes.Replace(s)
}
