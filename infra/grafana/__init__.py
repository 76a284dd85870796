"""The dashboards, and what a Grafana is given to show them."""
