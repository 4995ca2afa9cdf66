"""vrn_lite."""
