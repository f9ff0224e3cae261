defmodule Bench.Handler do
  @moduledoc false
  # The handler that every server runs, after the API of `mqtt` 0.2.2. The topic says what is done
  # with a message.

  use MQTT.Server

  @subscribers Bench.Subscribers

  @doc "What the handler needs to be running."
  def child_spec(_), do: Registry.child_spec(keys: :duplicate, name: @subscribers)

  @impl true
  def init(_args, _params), do: {:ok, nil}

  @impl true
  def handle_publish("ignore", _message, _opts, state), do: {:ok, state}
  def handle_publish("ignore/" <> _, _message, _opts, state), do: {:ok, state}

  def handle_publish("echo" = topic, message, _opts, state) do
    {:ok, state, {:publish, topic, message}}
  end

  def handle_publish("flood" = topic, <<qos, count::16, message::binary>>, _opts, state) do
    publish =
      if qos == 0, do: {:publish, topic, message}, else: {:publish, topic, message, %{qos: qos}}

    {:ok, state, List.duplicate(publish, count)}
  end

  # Any other goes to its subscribers.
  def handle_publish(topic, message, _opts, state) do
    Registry.dispatch(@subscribers, topic, fn subscribers ->
      for {pid, _} <- subscribers, do: send(pid, {:deliver, topic, message})
    end)

    {:ok, state}
  end

  @impl true
  def handle_subscribe(topic, _qos, state) do
    {:ok, _} = Registry.register(@subscribers, topic, nil)
    {:ok, 0, state}
  end

  @impl true
  def handle_info({:deliver, topic, message}, state) do
    {:ok, state, {:publish, topic, message}}
  end
end
