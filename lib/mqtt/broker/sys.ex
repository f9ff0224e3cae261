defmodule MQTT.Broker.Sys do
  @moduledoc false
  # Publishes what the broker counts to $SYS/broker/…, with the names that mosquitto has.

  use GenServer

  alias MQTT.Router
  alias MQTT.Broker.{Context, Sessions}

  def start_link({_name, _interval} = argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({name, interval}) do
    context = Context.get!(name)
    :ok = publish("version", "mqtt version #{Application.spec(:mqtt, :vsn)}", context)
    send(self(), :publish)
    {:ok, %{context: context, interval: interval}}
  end

  @impl true
  def handle_info(:publish, s) do
    stats = Router.info(s.context.router)
    total = :ets.info(s.context.clients, :size)
    connected = Sessions.connected(s.context)
    uptime = System.monotonic_time(:second) - s.context.since

    for {name, value} <- [
          {"uptime", "#{uptime} seconds"},
          {"clients/total", total},
          {"clients/connected", connected},
          {"clients/disconnected", max(total - connected, 0)},
          {"subscriptions/count", stats.subscriptions},
          {"retained messages/count", stats.retained},
          {"store/messages/bytes", stats.retained_bytes},
          {"publish/messages/received", stats.received},
          {"publish/messages/sent", stats.sent}
        ],
        do: :ok = publish(name, "#{value}", s.context)

    _ = Process.send_after(self(), :publish, s.interval)
    {:noreply, s}
  end

  def handle_info(_, s), do: {:noreply, s}

  defp publish(name, value, context) do
    topic = "$SYS/broker/" <> name
    {:ok, _reason, _count} = Router.publish(context.router, topic, value, %{retain: true})
    :ok
  end
end
