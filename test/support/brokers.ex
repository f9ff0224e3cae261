defmodule MQTT.Test.Brokers do
  @moduledoc false
  # A MQTT.Broker for a test, and waiting for what it does by itself.

  import ExUnit.Assertions

  @doc "Starts a broker under the test's supervisor; its name and the port of its first listener."
  def broker(options \\ []) do
    name = options[:name] || :"broker_#{System.unique_integer([:positive])}"
    defaults = [name: name, ip: {127, 0, 0, 1}, port: 0, sys_interval: :infinity]
    ExUnit.Callbacks.start_supervised!({MQTT.Broker, Keyword.merge(defaults, options)})
    [%{port: port} | _] = MQTT.Broker.listeners(name)
    {name, port}
  end

  @doc "Waits until the check is true."
  def eventually(check, tries \\ 500) do
    cond do
      check.() ->
        :ok

      tries == 0 ->
        flunk("it did not come about")

      true ->
        receive after: (10 -> :ok)
        eventually(check, tries - 1)
    end
  end

  @doc "Waits until a client is not connected any more, whether it has a session or not."
  def gone(broker, client_id) do
    eventually(fn -> not match?(%{connected: true}, MQTT.Broker.info(broker, client_id)) end)
  end
end
