defmodule MQTT do
  @moduledoc false
end
