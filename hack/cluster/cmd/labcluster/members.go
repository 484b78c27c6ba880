package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/member"
	"github.com/portbind/portbind/hack/cluster/progress"
)

// memberCommand runs inside a machine.
func memberCommand(l *layout.Layout, use string, run func(*cobra.Command, *member.Member) error) *cobra.Command {
	m := &member.Member{}
	c := &cobra.Command{
		Use: use, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m.Layout, m.Log = *l, progress.New(os.Stdout)
			return run(c, m)
		},
	}
	c.Flags().StringVar(&m.Name, "name", "", "the machine's name")
	c.Flags().IntVar(&m.Index, "index", 0, "the machine's number")
	return c
}

func node(l *layout.Layout) *cobra.Command {
	return withOthers(l, "node", func(c *cobra.Command, m *member.Member, others []int) error { return m.Node(c.Context(), others) })
}

func target(l *layout.Layout) *cobra.Command {
	return withOthers(l, "target", func(c *cobra.Command, m *member.Member, nodes []int) error { return m.Target(c.Context(), nodes) })
}

// withOthers is a memberCommand that is told of the other machines that have pods.
func withOthers(l *layout.Layout, use string, run func(*cobra.Command, *member.Member, []int) error) *cobra.Command {
	var others []int
	c := memberCommand(l, use, func(c *cobra.Command, m *member.Member) error { return run(c, m, others) })
	c.Flags().IntSliceVar(&others, "others", nil, "numbers of the other nodes")
	return c
}

func importImages(l *layout.Layout) *cobra.Command {
	return memberCommand(l, "import", func(c *cobra.Command, m *member.Member) error { return m.Import(c.Context()) })
}

func bake(l *layout.Layout) *cobra.Command {
	var archive, to string
	c := memberCommand(l, "bake", func(c *cobra.Command, m *member.Member) error { return m.Bake(c.Context(), archive, to) })
	c.Flags().StringVar(&archive, "archive", "", "archive of images")
	c.Flags().StringVar(&to, "to", "", "directory of the result")
	return c
}
