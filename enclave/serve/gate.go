package serve

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// gate counts the requests under way. The zero value counts none.
type gate struct {
	mu      sync.Mutex
	total   int
	clients map[string]int
}

type place int

const (
	admitted place = iota
	full
	clientFull
)

// enter counts a client's request if the limits have a place for it.
func (g *gate) enter(name string, limits Limits) place {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.clients[name] >= limits.InFlightPerClient:
		return clientFull
	case g.total >= limits.InFlight:
		return full
	}
	if g.clients == nil {
		g.clients = make(map[string]int)
	}
	g.total++
	g.clients[name]++
	return admitted
}

func (g *gate) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.clients[name]--; g.clients[name] == 0 {
		delete(g.clients, name) // clients come and go with the settings
	}
}

func (g *gate) inFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// reports counts refusals by rule, and logs the first of each and then one in an
// interval. Rules are a few constants.
type reports struct {
	log *slog.Logger

	mu    sync.Mutex
	rules map[string]*report
}

type report struct {
	count    uint64
	unlogged uint64
	logged   time.Time
}

func (r *reports) add(rule, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == nil {
		r.rules = make(map[string]*report)
	}
	seen := r.rules[rule]
	if seen == nil {
		seen = &report{}
		r.rules[rule] = seen
	}
	seen.count++
	if now := time.Now(); now.Sub(seen.logged) >= reportInterval {
		r.log.Warn("a request was refused", "rule", rule, "why", message, "others", seen.unlogged)
		seen.logged, seen.unlogged = now, 0
	} else {
		seen.unlogged++
	}
}

func (r *reports) counts() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]uint64, len(r.rules))
	for rule := range maps.Keys(r.rules) {
		counts[rule] = r.rules[rule].count
	}
	return counts
}
