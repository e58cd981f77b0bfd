// Package egress says where an enclave's calls go: its vsock ports for KMS and DynamoDB each lead to one
// host and port, and to no other.
//
// The destinations are those that the bundle's clear configuration names, unless the operator names others.
// The parent need not believe the bundle for that: TLS ends inside the enclave, so a wrong destination can
// only fail, and calling it is all that this package does.
package egress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"holdfast/parent/cloud"
	"holdfast/verify/envelope"
)

// Ports of the parent's vsock, as the enclave calls them.
const (
	KMSPort      = 8000
	DynamoDBPort = 8001
)

// Destinations are host and port, empty where there is none.
type Destinations struct{ KMS, DynamoDB string }

// Named returns what a bundle's configuration names: its endpoints, or AWS's of the regions of the KMS key and
// of the table. Whether the configuration is sound in everything else is the enclave's to say.
func Named(e *envelope.Envelope) (Destinations, error) {
	var named struct {
		KMS struct {
			Key      string `json:"key"`
			Endpoint string `json:"endpoint"`
		} `json:"kms"`
		Slashing struct {
			Table    string `json:"table"`
			Endpoint string `json:"endpoint"`
		} `json:"slashing"`
	}
	if err := json.Unmarshal(e.Configuration, &named); err != nil {
		return Destinations{}, fmt.Errorf("bundle's configuration: %w", err)
	}
	kms, err := destination(named.KMS.Endpoint, named.KMS.Key, envelope.KMSKey)
	if err != nil {
		return Destinations{}, fmt.Errorf("bundle's configuration: kms: %w", err)
	}
	table, err := destination(named.Slashing.Endpoint, named.Slashing.Table, envelope.DynamoDBTable)
	if err != nil {
		return Destinations{}, fmt.Errorf("bundle's configuration: slashing: %w", err)
	}
	return Destinations{KMS: kms, DynamoDB: table}, nil
}

func destination(endpoint, arn string, kind envelope.Resource) (string, error) {
	switch {
	case endpoint != "":
		return cloud.HostPort(endpoint)
	case arn != "":
		return cloud.Endpoint(arn, kind)
	}
	return "", nil
}

// Over returns d with the destinations of above in their place, where it has any.
func (d Destinations) Over(above Destinations) Destinations {
	if above.KMS != "" {
		d.KMS = above.KMS
	}
	if above.DynamoDB != "" {
		d.DynamoDB = above.DynamoDB
	}
	return d
}

// ErrNowhere says that the enclave calls what neither its bundle nor the operator has named.
var ErrNowhere = errors.New("the enclave calls a port that leads nowhere: neither the bundle nor a flag names a destination for it")

// A Map is the destinations in force. They may change while connections are made. The zero value leads
// nowhere.
type Map struct {
	mu  sync.Mutex
	now Destinations
}

// Set replaces the destinations. Connections that are open stay.
func (m *Map) Set(d Destinations) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = d
}

// Get returns the destinations in force.
func (m *Map) Get() Destinations {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Dial connects to where a vsock port leads at this moment.
func (m *Map) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	now := m.Get()
	to := map[uint32]string{KMSPort: now.KMS, DynamoDBPort: now.DynamoDB}[port]
	if to == "" {
		return nil, fmt.Errorf("egress port %d: %w", port, ErrNowhere)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, fmt.Errorf("egress port %d: %w", port, err)
	}
	return conn, nil
}
