package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/target/pki"
)

func pkiCommand() *cobra.Command {
	var o pki.Options
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Make a CA, a server and a client certificate, and the Kubernetes Secret of the client's",
		Long: "Makes a CA, a server and a client certificate, and the Kubernetes Secret of the client's, as files in one directory.\n" +
			"Nothing is overwritten; `pki renew` replaces a certificate.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Now = time.Now()
			if err := pki.Init(o); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Certificates are in %s. For Kubernetes: kubectl apply -f %s\n",
				o.Dir, filepath.Join(o.Dir, pki.SecretFile))
			return err
		},
	}
	pkiFlags(cmd, &o)
	cmd.AddCommand(renewCommand())
	return cmd
}

func renewCommand() *cobra.Command {
	var o pki.Options
	cmd := &cobra.Command{
		Use:       "renew server|client",
		Short:     "Replace the server's or the client's certificate by one of the CA in the directory",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"server", "client"},
		RunE: func(_ *cobra.Command, args []string) error {
			o.Now = time.Now()
			if args[0] == "server" {
				return pki.RenewServer(o)
			}
			return pki.RenewClient(o)
		},
	}
	pkiFlags(cmd, &o)
	return cmd
}

func pkiFlags(cmd *cobra.Command, o *pki.Options) {
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "/etc/portbind-targetd/pki", "directory of the files")
	f.StringSliceVar(&o.SANs, "san", nil, "DNS names and IP addresses that clients reach this host at, separated by commas")
	f.IntVar(&o.Days, "days", 825, "validity of server and client certificates")
	f.StringVar(&o.SecretName, "secret-name", "portbind-targetd-client", "name of the Kubernetes Secret")
	f.StringVar(&o.SecretNamespace, "secret-namespace", "portbind", "namespace of the Kubernetes Secret")
}
