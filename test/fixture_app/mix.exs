defmodule FixtureApp.MixProject do
  use Mix.Project

  def project do
    [
      app: :fixture_app,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:mqtt, path: "../.."}]
    ]
  end

  def application do
    [mod: {FixtureApp, []}]
  end
end
