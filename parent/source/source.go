// Package source fetches sealed bundles from where an operator keeps them: a file, or an object in S3.
//
// What comes from here is not trusted. A bundle is authenticated by its data key inside the enclave, and a
// slashing store refuses one that is older than it has seen.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/enclave/control/message"
)

// Source is where bundles come from. Get returns the newest, of at most [message.MaxBundleSize] bytes, and a
// revision that differs whenever the bundle does. It is called from one goroutine at a time.
type Source interface {
	fmt.Stringer
	Get(ctx context.Context) (data []byte, revision string, err error)
}

// Options are about sources that are reached over a network.
type Options struct {
	Region   string // of AWS; empty takes the environment's, or the instance's own
	Endpoint string // URL of another S3; empty is AWS's
}

// Open returns the source that a location names: "s3://BUCKET/KEY", "file:PATH" or a path. The AWS
// configuration is read from the environment, but nothing is fetched.
func Open(ctx context.Context, location string, options Options) (Source, error) {
	scheme, rest, found := strings.Cut(location, ":")
	switch {
	case location == "":
		return nil, errors.New("bundle source: got none, want a path, file:PATH or s3://BUCKET/KEY")
	case found && scheme == "s3":
		return openS3(ctx, rest, options)
	case found && scheme == "file":
		return openFile(rest)
	case strings.Contains(location, "://"):
		return nil, fmt.Errorf("bundle source %q: unknown scheme, want a path, file:PATH or s3://BUCKET/KEY", location)
	}
	return openFile(location)
}

// getTimeout bounds one attempt to fetch.
const getTimeout = time.Minute

// Revised is a bundle that Watch found, or why it found none.
type Revised struct {
	Data     []byte
	Revision string
	Err      error
}

// Watch gets at once and then every interval, and hands on what changed: each new revision, and each error
// that is not the one before. It returns when ctx ends.
func Watch(ctx context.Context, s Source, interval time.Duration, found func(Revised)) {
	var last, lastError string
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		next := get(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case next.Err != nil && next.Err.Error() != lastError:
			lastError = next.Err.Error()
			found(next)
		case next.Err == nil && (next.Revision != last || lastError != ""):
			last, lastError = next.Revision, ""
			found(next)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func get(ctx context.Context, s Source) Revised {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	data, revision, err := s.Get(ctx)
	if err != nil {
		return Revised{Err: fmt.Errorf("bundle from %v: %w", s, err)}
	}
	return Revised{Data: data, Revision: revision}
}

var (
	errEmpty = errors.New("is empty")
	errLarge = fmt.Errorf("is larger than %d bytes", message.MaxBundleSize)
)

// read reads a bundle to its end.
func read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, message.MaxBundleSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, errEmpty
	case len(data) > message.MaxBundleSize:
		return nil, errLarge
	}
	return data, nil
}
