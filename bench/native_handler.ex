defmodule Bench.NativeHandler do
  @moduledoc false
  # A handler that hands a message to all its subscribers in one call, which 0.2.2 does not have.

  use MQTT.Server

  @subscribers Bench.NativeSubscribers

  @doc "What the handler needs to be running."
  def child_spec(_), do: Registry.child_spec(keys: :duplicate, name: @subscribers)

  @impl true
  def init(_args, _params), do: {:ok, nil}

  @impl true
  def handle_publish(topic, message, _opts, state) do
    connections = for {_, connection} <- Registry.lookup(@subscribers, topic), do: connection
    # Nobody was full or gone.
    [] = MQTT.Server.publish(connections, topic, message, %{})
    {:ok, state}
  end

  @impl true
  def handle_subscribe(topic, _qos, state) do
    {:ok, _} = Registry.register(@subscribers, topic, MQTT.Server.connection())
    {:ok, 0, state}
  end
end
