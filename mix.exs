Code.require_file("native/compiler.exs", __DIR__)

defmodule MQTT.MixProject do
  use Mix.Project

  def project do
    [
      app: :mqtt,
      name: "MQTT",
      version: "1.0.0-dev",
      description: "An MQTT server library for Elixir and Erlang, native below its callbacks",
      elixir: "~> 1.14",
      compilers: [:mqtt_native | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      # Files under test/ that are neither tests nor their support.
      test_ignore_filters: [
        ~r"^test/fixture_app/",
        "test/compat/handlers.ex",
        "test/conformance/reasons.exs"
      ],
      start_permanent: Mix.env() == :prod,
      package: package(),
      docs: docs(),
      deps: []
    ]
  end

  def application do
    [mod: {MQTT.Application, []}, extra_applications: [:logger, :ssl]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  defp package do
    [
      licenses: ["Apache-2.0"],
      files:
        ~w(Cargo.toml Cargo.lock native include lib guides examples mix.exs README.md CHANGELOG.md LICENSE)
    ]
  end

  defp docs do
    [
      main: "readme",
      formatters: ["html"],
      extras: [
        "README.md",
        "CHANGELOG.md",
        "guides/conformance.md",
        LICENSE: [title: "License"],
        "native/README.md": [filename: "boundary"]
      ],
      # The page for those who develop the library, which names what is hidden.
      skip_undefined_reference_warnings_on: ["native/README.md"]
    ]
  end
end
