package chain

import (
	"crypto/x509"
	"fmt"
	"strings"

	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// chainLength is that of every real chain: root, region, zone, instance, leaf.
const chainLength = 5

// checkNames applies C9: the common names, from the leaf up, repeat the
// document's module id, its instance and one region. AWS does not document
// this; every real document does it.
func checkNames(certs []*x509.Certificate, d *document.Document, r *report.Report) {
	const expected = "names of one module, instance and region"
	if len(certs) != chainLength {
		r.Fail(report.C9, expected, fmt.Sprintf("%d certificates, not %d", len(certs), chainLength))
		return
	}
	region, ok := regionOf(certs[4].Subject.CommonName, d.ModuleID)
	if !ok {
		r.Fail(report.C9, expected, fmt.Sprintf("leaf %s for module %q", commonName(certs[4]), clip(d.ModuleID)))
		return
	}
	for _, n := range []struct {
		what  string
		cert  *x509.Certificate
		match bool
	}{
		{"instance", certs[3], certs[3].Subject.CommonName == d.InstanceID()+"."+region+".aws.nitro-enclaves"},
		{"zone", certs[2], strings.HasSuffix(certs[2].Subject.CommonName, ".zonal."+region+".aws.nitro-enclaves")},
		{"region", certs[1], strings.HasSuffix(certs[1].Subject.CommonName, "."+region+".aws.nitro-enclaves")},
	} {
		if !n.match {
			r.Fail(report.C9, expected, fmt.Sprintf("%s %s in region %s", n.what, commonName(n.cert), region))
			return
		}
	}
	r.Pass(report.C9, expected, "region "+region)
}

// regionOf takes the region out of a leaf's name, MODULE.REGION.aws.
func regionOf(name, moduleID string) (string, bool) {
	rest, ok := strings.CutPrefix(name, moduleID+".")
	if !ok {
		return "", false
	}
	region, ok := strings.CutSuffix(rest, ".aws")
	if !ok || region == "" || strings.Trim(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", false
	}
	return region, true
}
