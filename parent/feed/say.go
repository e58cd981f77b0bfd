package feed

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"holdfast/enclave/control/message"
)

// identifier is what differs between two reports of one failure: AWS's request identifiers.
var identifier = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

// say logs what is new on a topic.
func (f *Feeder) say(topic string, level slog.Level, text string) {
	kind := identifier.ReplaceAllString(text, "")
	if f.said[topic] == kind {
		return
	}
	f.said[topic] = kind
	f.Log.Log(context.Background(), level, text)
}

// sayUnlessOver logs a failure that is not only that the feeder must end.
func (f *Feeder) sayUnlessOver(ctx context.Context, topic string, err error) {
	if ctx.Err() == nil {
		f.say(topic, slog.LevelWarn, topic+": "+err.Error())
	}
}

// describe puts a status into a line, at the level that it deserves.
func describe(s message.Status) (slog.Level, string) {
	level, parts := slog.LevelInfo, []string{"enclave: " + string(s.State)}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if b := s.Bundle; b != nil {
		add("bundle %q version %d, %d keys", b.Name, b.Version, b.Keys)
	}
	if p := s.Pending; p != nil {
		add("bundle %q version %d waits for its data key", p.Name, p.Version)
	}
	if s.Problem != "" {
		level = slog.LevelWarn
		add("problem: %s", s.Problem)
	}
	if l := s.Slashing; l != nil && l.Problem != "" {
		level = slog.LevelWarn
		add("slashing store: %s", l.Problem)
	}
	if l := s.Slashing; l != nil && l.Floor != nil {
		add("after this restart it signs attestations of targets above epoch %d and blocks above slot %d", l.Floor.Epoch, l.Floor.Slot)
	}
	return level, strings.Join(parts, "; ")
}
