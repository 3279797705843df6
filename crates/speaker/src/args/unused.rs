//! The flags of MetalLB's speaker that have no effect here.

/// The flags of MetalLB's speaker for a daemon of BGP beside it. The speaker itself speaks BGP, so they have no effect.
#[derive(Debug, Clone, clap::Args)]
pub struct UnusedArgs {
    /// A flag of MetalLB without effect: changes take effect at once.
    #[arg(
        long,
        env = "METALLB_BGP_DEBOUNCE_TIMEOUT",
        default_value = "",
        hide_default_value = true,
        value_name = "MILLISECONDS"
    )]
    bgp_debounce_timeout: String,
    /// A flag of MetalLB without effect: there is no frr-k8s.
    #[arg(
        long,
        env = "FRRK8S_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        value_name = "NAMESPACE"
    )]
    frrk8s_namespace: String,
    /// A flag of MetalLB without effect: the speaker reads the Secrets of peers itself.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    frrk8s_secret_passthrough: bool,
}

impl UnusedArgs {
    /// Returns what to tell an administrator who uses some of them.
    pub(crate) fn warning(&self) -> Option<String> {
        let used = [
            ("--bgp-debounce-timeout", !self.bgp_debounce_timeout.is_empty()),
            ("--frrk8s-namespace", !self.frrk8s_namespace.is_empty()),
            ("--frrk8s-secret-passthrough", self.frrk8s_secret_passthrough),
        ];
        let used: Vec<&str> = used
            .iter()
            .filter(|(_, is_used)| *is_used)
            .map(|(name, _)| *name)
            .collect();
        (!used.is_empty()).then(|| {
            let flags = used.join(", ");
            format!(
                "without effect, because the speaker itself speaks BGP and needs no FRR: {flags}; remove them"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        unused: UnusedArgs,
    }

    #[test]
    fn flags_of_metallb_for_frr_are_accepted_with_one_warning() {
        let warning = |flags: &[&str]| {
            let program = Program::try_parse_from([&["speaker"], flags].concat());
            program.expect("accepted").unused.warning()
        };
        assert_eq!(warning(&[]), None);
        assert_eq!(
            warning(&[
                "--bgp-debounce-timeout=",
                "--frrk8s-namespace=",
                "--frrk8s-secret-passthrough=false"
            ]),
            None
        );
        let all = [
            "--bgp-debounce-timeout=3000",
            "--frrk8s-namespace",
            "frr-k8s-system",
            "--frrk8s-secret-passthrough",
        ];
        let expected = "without effect, because the speaker itself speaks BGP and needs no FRR: --bgp-debounce-timeout, \
                        --frrk8s-namespace, --frrk8s-secret-passthrough; remove them";
        assert_eq!(warning(&all).as_deref(), Some(expected));
        let one = warning(&["--bgp-debounce-timeout", "10"]).expect("a warning");
        assert!(
            one.contains("--bgp-debounce-timeout") && !one.contains("frrk8s"),
            "{one}"
        );
    }
}
